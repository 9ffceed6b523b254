"""Samples of a running fleet, taken from outside: who is ready, what it holds, what the tables say."""

import asyncio
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import httpx

from sandbox.core.audit.growth import Usage
from sandbox.core.audit.record import Readiness, Told
from sandbox.fleet import Fleet
from sandbox.outages import DATABASE_IS_AWAY

EVERY_S = 1.0
USAGE_EVERY_S = 10.0
ANSWER_LIMIT_S = 3.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TASKS = re.compile(r"^flotilla_asyncio_tasks (\S+)$", re.MULTILINE)


class Samples:
    """All that was sampled so far."""

    def __init__(self, fleet: Fleet) -> None:
        self.readiness: list[Readiness] = []
        self.usage: list[Usage] = []
        self.told: list[Told] = []
        self._fleet = fleet
        self._services = services_of(fleet)
        self._sampled = asyncio.Condition()
        self._client = httpx.AsyncClient(timeout=ANSWER_LIMIT_S)

    async def watch(self, pool: asyncpg.Pool) -> None:
        """Samples every EVERY_S until cancelled, and what processes hold every USAGE_EVERY_S."""
        async with self._client, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_readiness())
            tasks.create_task(self._watch_tables(pool))
            tasks.create_task(watch_usage(self._fleet, self._client, self.usage))

    def all_ready_since(self, at: datetime) -> datetime | None:
        """The first sample asked at or after `at` in which every service was ready."""
        return next((each.at for each in self.readiness if each.at >= at and all(each.ready.values())), None)

    async def next(self) -> None:
        """Another sample of readiness was taken."""
        async with self._sampled:
            await self._sampled.wait()

    def not_ready(self) -> list[str]:
        """Who was not, in the newest sample."""
        return [name for name, ready in self.readiness[-1].ready.items() if not ready]

    async def _watch_readiness(self) -> None:
        while True:
            at = datetime.now(UTC)
            answers = await asyncio.gather(*map(self._is_ready, self._services))
            self.readiness.append(Readiness(at=at, ready=dict(zip(self._services, answers, strict=True))))
            async with self._sampled:
                self._sampled.notify_all()
            await asyncio.sleep(EVERY_S)

    async def _is_ready(self, service: str) -> bool:
        try:
            answer = await self._client.get(f"{self._fleet.addresses[service]}/health/ready")
        except httpx.HTTPError:
            return False
        return answer.is_success

    async def _watch_tables(self, pool: asyncpg.Pool) -> None:
        while True:
            with suppress(*DATABASE_IS_AWAY):
                self.told.append(await told(pool))
            await asyncio.sleep(EVERY_S)


async def watch_usage(fleet: Fleet, client: httpx.AsyncClient, into: list[Usage]) -> None:
    """What each of our processes holds is added to `into` every USAGE_EVERY_S until cancelled."""
    while True:
        found = await asyncio.gather(*(_usage(fleet, client, name) for name in services_of(fleet)))
        into.extend(each for each in found if each is not None)
        await asyncio.sleep(USAGE_EVERY_S)


def services_of(fleet: Fleet) -> list[str]:
    """Our processes, without the neighbours."""
    return [name for name in fleet.addresses if not name.startswith("sandbox")]


async def _usage(fleet: Fleet, client: httpx.AsyncClient, service: str) -> Usage | None:
    pid = fleet.pid(service)
    return None if pid is None else usage(service, pid, await _tasks(fleet, client, service))


async def _tasks(fleet: Fleet, client: httpx.AsyncClient, service: str) -> int | None:
    try:
        answer = await client.get(f"{fleet.addresses[service]}/metrics", follow_redirects=True)
    except httpx.HTTPError:
        return None
    found = _TASKS.search(answer.text)
    return int(float(found[1])) if found else None


def usage(process: str, pid: int, tasks: int | None) -> Usage | None:
    """What the process holds now; None where it is gone."""
    try:
        resident_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    return Usage(
        at=datetime.now(UTC),
        process=process,
        pid=pid,
        rss_bytes=resident_pages * _PAGE_BYTES,
        descriptors=descriptors,
        tasks=tasks,
    )


async def told(pool: asyncpg.Pool) -> Told:
    """What the tables say now. Raises one of DATABASE_IS_AWAY."""
    active = await pool.fetch("SELECT strategy_id, version FROM model_versions WHERE is_active")
    states = await pool.fetch("SELECT scope, state FROM trading_states")
    served = await pool.fetch(_SERVED)
    return Told(
        at=datetime.now(UTC),
        active=_grouped((row["strategy_id"], row["version"]) for row in active),
        states={row["scope"]: row["state"] for row in states},
        served={
            replica: {row["strategy_id"]: row["version"] for row in served if row["replica"] == replica}
            for replica in {row["replica"] for row in served}
        },
    )


_SERVED = """
SELECT replica, strategy_id, version FROM served_versions WHERE heart_beat_at > now() - interval '10 seconds'
"""


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found
