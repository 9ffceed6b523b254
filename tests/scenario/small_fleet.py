"""A fleet on paper with every neighbour as a process of its own, so that any of them can be stopped."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg

from sandbox import paper_run
from sandbox.fleet import Shape, running_fleet
from sandbox.paper_run import PaperRun
from sandbox.platform import open_market
from sandbox.settings import MarketSettings

PATIENCE_S = 60


class SmallFleet:
    """The running fleet, what it logged, and its database."""

    def __init__(self, fleet, run, database, lines):
        self.start = fleet.start
        self.stop = fleet.stop
        self.restarts = fleet.restarts
        self.addresses = fleet.addresses
        self.api_key = fleet.api_key
        self.run = run
        self._database = database
        self._lines = lines

    async def rows(self, query, *values):
        return [dict(row) for row in await self._database.fetch(query, *values)]

    async def value(self, query, *values):
        return await self._database.fetchval(query, *values)

    async def until(self, query, *values, patience_s=PATIENCE_S):
        """The rows of `query`, once it has any."""
        async with asyncio.timeout(patience_s):
            while not (rows := await self.rows(query, *values)):
                await asyncio.sleep(0.1)
        return rows

    async def logged(self, event, *, since=0):
        """What the first line says that logs `event`, after `since` lines."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for line in self._lines[since:]:
                    said = _decoded(line)
                    if said.get("event") == event:
                        return said
                await asyncio.sleep(0.1)

    def lines_with(self, text):
        """What was logged with `text` in it."""
        return [line for line in self._lines if text in line]

    def lines(self):
        """How much was logged until now."""
        return len(self._lines)


@asynccontextmanager
async def small_fleet(database_url, amqp_url, directory, *, strategies=("momentum",), logins=None, **changes):
    run = PaperRun(strategy_id="small", database_url=database_url, rabbitmq_url=amqp_url, directory=directory)
    await paper_run.prepare(run)
    settings = MarketSettings(symbols=("BTCUSDT",))
    lines = []
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=2) as database,
        running_fleet(
            open_market(settings),
            settings,
            run,
            shape=Shape(
                strategies=strategies,
                neighbours_apart=True,
                changes=changes,
                logins=logins or {},
            ),
            signals_per_minute=120,
            tell=lambda _, line: lines.append(line),
            began=datetime.now(UTC),
        ) as fleet,
    ):
        yield SmallFleet(fleet, run, database, lines)


def _decoded(line):
    try:
        return json.loads(line)
    except ValueError:
        return {}
