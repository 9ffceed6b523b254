"""A fleet that is struck: what its tests ask it, what it promised, and how long it took to recover."""

import asyncio
import json
import os
import time
from contextlib import suppress
from datetime import UTC, datetime

import httpx

from sandbox.outages import DATABASE_IS_AWAY

IN_FULL = os.environ.get("FAULTS") == "all"
"""Every fault and every order of starts, not only those of every test run."""
READY_WITHIN_S = 60.0
"""Patience with a loaded machine; what was measured is in reliability.json."""
ALIVE_WITHIN_S = 5.0
SERVICES = ("api", "inference", "inference-2", "trainer", "exit_strategy", "exit_strategy-2")

# One sentence for each row.
PROMISES = {
    "orders of one signal": """
        SELECT signal_id FROM orders WHERE status <> 'rejected' GROUP BY signal_id HAVING count(*) > 1""",
    "entries on one vector": """
        SELECT strategy_id, symbol, feature_timestamp FROM signal_outbox WHERE kind = 'entry'
        GROUP BY strategy_id, symbol, feature_timestamp HAVING count(*) > 1""",
    "published after its validity": """
        SELECT signal_id FROM signal_outbox
        WHERE state = 'published' AND published_at > valid_until + interval '1 second'
        AND NOT EXISTS (SELECT FROM orders o WHERE o.signal_id = signal_outbox.signal_id)""",
    "executed after its validity": """
        SELECT s.signal_id FROM signal_outbox s JOIN orders o USING (signal_id)
        WHERE o.created_at AT TIME ZONE 'UTC' > s.valid_until + interval '5 seconds'""",
    "published and not in trading_signals": """
        SELECT signal_id FROM signal_outbox o
        WHERE state = 'published' AND published_at < now() - interval '5 seconds'
        AND NOT EXISTS (SELECT FROM trading_signals t WHERE t.signal_id = o.signal_id)""",
    "expired without a reason": """
        SELECT signal_id FROM signal_outbox WHERE state = 'expired' AND reason IS NULL""",
    "executed and said to have expired": """
        SELECT signal_id FROM signal_outbox s JOIN orders o USING (signal_id)
        WHERE s.state = 'expired' AND o.status <> 'rejected'""",
    "active versions of one strategy": """
        SELECT strategy_id FROM model_versions WHERE is_active GROUP BY strategy_id HAVING count(*) > 1""",
    "dead letters": "SELECT queue, reason FROM dead_letters",
}


class Findings:
    """What was measured, by what was done."""

    def __init__(self):
        self._seconds = {}

    def measured(self, what, **seconds):
        """So long it took, in seconds."""
        self._seconds.setdefault(what, {}).update({name: round(value, 2) for name, value in seconds.items()})

    def keep(self, path):
        path.write_text(json.dumps(self._seconds, indent=1, sort_keys=True) + "\n")


class StruckFleet:
    """The running fleet, the lines to its servers, and its database past every line."""

    def __init__(self, ground, pool, client, lines, log):
        self.ground = ground
        self.lines = lines
        self.start = ground.fleet.start
        self.stop = ground.fleet.stop
        self.pid = ground.fleet.pid
        self.restarts = ground.fleet.restarts
        self.api = ground.api
        self._addresses = ground.fleet.addresses
        self._pool = pool
        self._log = log
        self._client = client

    async def rows(self, query, *values):
        while True:
            with suppress(*DATABASE_IS_AWAY):
                return [dict(row) for row in await self._pool.fetch(query, *values)]
            await asyncio.sleep(0.1)

    async def until(self, query, *values, patience_s=60):
        """The rows of `query`, once it has any."""
        async with asyncio.timeout(patience_s):
            while not (rows := await self.rows(query, *values)):
                await asyncio.sleep(0.05)
        return rows

    async def status(self, service, path="/health/ready"):
        """The HTTP status; None: no answer."""
        try:
            return (await self._client.get(f"{self._addresses[service]}{path}")).status_code
        except httpx.HTTPError:
            return None

    async def all_ready(self, services=SERVICES, within_s=READY_WITHIN_S):
        """Seconds until every service was ready at once."""
        began = time.monotonic()
        async with asyncio.timeout(within_s):
            while not all(status == 200 for status in await asyncio.gather(*map(self.status, services))):
                await asyncio.sleep(0.1)
        return time.monotonic() - began

    async def alive(self, services=SERVICES):
        """Services that do not answer whether they live, though they run."""
        answers = await asyncio.gather(*(self.status(each, "/health/live") for each in services))
        return [name for name, status in zip(services, answers, strict=True) if status != 200]

    async def decides(self):
        """Every stream was decided on after this was asked, and the workers have told."""
        await self.until("SELECT 1 FROM latest_outcomes HAVING min(decided_at) > $1", datetime.now(UTC))

    async def trades(self, since=None):
        """Seconds until a signal decided after `since` (now) was recorded."""
        began = time.monotonic()
        await self.until(
            "SELECT 1 FROM signal_outbox"
            " WHERE kind = 'entry' AND state = 'published' AND created_at > $1 LIMIT 1",
            since or datetime.now(UTC),
        )
        return time.monotonic() - began

    async def broken_promises(self):
        """What does not hold of all that was ever done, one sentence each."""
        return [f"{promise}: {row}" for promise, query in PROMISES.items() for row in await self.rows(query)]

    def logged(self, name, event, since):
        """How often the service wrote the event after so many lines of all."""
        return sum(said == name and f'"{event}"' in line for said, line in self._log[since:])

    def lines_logged(self):
        return len(self._log)
