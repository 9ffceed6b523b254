"""Goals 2 and 3: how long a vector takes, from the moment it is computed to its decision or its signal.

The load is open and steady. Decisions that end in HOLD leave nothing on the wire: the worker's own record of
each symbol's newest one tells when a vector of when was decided on, by the clock of the same machine. The
echo takes the same vectors at the same rate, before and not at the same time.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from aio_pika.abc import AbstractIncomingMessage
from tests.benchmarks import echo
from tests.benchmarks.processes import Service
from tests.benchmarks.result import Result, at_least, at_most, percentile
from tests.benchmarks.stage import Stage, decisions, stage

from common import topology
from sandbox.servers import Servers

ROUNDS = 3
SECONDS = 6
WARM_S = 1.0
"""The first vectors of a round count only as load."""

PLATFORM_SYMBOLS = 1000
PLATFORM_PER_S = 1420
"""What the platform's Feature Service publishes for a thousand symbols."""
SUSTAINED = 0.99
OVERLOAD_PER_S = 4000
BOUND_MS = 1000.0
"""Under overload, the age of nearly every vector when it is decided on."""
LAST_S = 3.0
"""Of an overload, that count: by then a queue that only grows would show."""
FLUSHED_S = 2.5
"""The worker stores its newest decisions every two seconds."""

SIGNAL_SYMBOLS = 100
SIGNALS_PER_S = 200
SHARES = {"one vector in ten a signal": 0.1, "every vector a signal": 1.0}


class Lap(msgspec.Struct, frozen=True, kw_only=True):
    """One round's figures."""

    per_s: float
    """Handled while they were fed."""
    fed_per_s: float
    """What the feeder came to: on a busy machine less than it was asked for."""
    seconds: list[float]
    """What each took, as far as it was seen."""

    def ms(self, percent: float) -> float:
        """So many percent took no longer."""
        return percentile(self.seconds, percent) * 1000


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A message on the wire."""

    at: float
    """Unix time of its arrival."""
    seconds: float
    """Since its vector was computed."""
    version: str | None
    """Of the model, where it is a signal."""


async def thousand_symbols(servers: Servers) -> AsyncIterator[Result]:
    """Goal 2: the platform's real rate, and far more than that."""
    floors: list[Lap] = []
    ours: list[Lap] = []
    async with stage(servers, size=PLATFORM_SYMBOLS) as here:
        with here.replica() as worker:
            await here.warm(worker)
            for _ in range(ROUNDS):
                floors.append(await echoed(here, PLATFORM_PER_S))
                ours.append(await decided(here, worker, PLATFORM_PER_S))
            overloaded = await decided(here, worker, OVERLOAD_PER_S, last_s=LAST_S)
            rss_mb = worker.rss_mb()
    symbols = f"2 {PLATFORM_SYMBOLS:,} symbols"
    least = SUSTAINED * PLATFORM_PER_S
    is_sustained = all(each.per_s >= least for each in (*floors, *ours))
    yield Result(
        goal=f"{symbols} at {PLATFORM_PER_S:,}/s: fed",
        unit="vectors/s",
        rounds=[each.fed_per_s for each in ours],
        floors=[each.fed_per_s for each in floors],
    )
    yield Result(
        goal=f"{symbols} at {PLATFORM_PER_S:,}/s: decided",
        unit="vectors/s",
        rounds=[each.per_s for each in ours],
        floors=[each.per_s for each in floors],
        target=at_least(least),
    )
    yield Result(
        goal=f"{symbols} at {PLATFORM_PER_S:,}/s: publish to decision, p99",
        unit="ms",
        rounds=[each.ms(99) for each in ours],
        floors=[each.ms(99) for each in floors],
        # Two backlogs say nothing of each other.
        target=at_most(3.0, of="ratio") if is_sustained else None,
    )
    yield Result(
        goal=f"{symbols} at {OVERLOAD_PER_S:,}/s: fed", unit="vectors/s", rounds=[overloaded.fed_per_s]
    )
    yield Result(
        goal=f"{symbols} at {OVERLOAD_PER_S:,}/s: publish to decision, p99",
        unit="ms",
        rounds=[overloaded.ms(99)],
        target=at_most(BOUND_MS),
    )
    yield Result(goal=f"{symbols} and models: resident", unit="MB", rounds=[rss_mb])


async def signals(servers: Servers) -> AsyncIterator[Result]:
    """Goal 3: from a feature to a signal that somebody reads."""
    floors: list[Lap] = []
    ours: dict[str, list[Lap]] = {share: [] for share in SHARES}
    async with stage(servers, size=SIGNAL_SYMBOLS) as here:
        with here.replica() as worker, here.echo():
            await here.warm(worker)
            for _ in range(ROUNDS):
                floors.append(await wired(here, echo.TAKES, echo.GIVES, buys=0.0))
                for share, buys in SHARES.items():
                    lap = await wired(
                        here, topology.FEATURES_LIVE.name, topology.TRADING_SIGNALS.name, buys=buys
                    )
                    ours[share].append(lap)
                    await here.settled(worker)
    for share in SHARES:
        for percent, limit in ((50, 2.0), (99, 3.0)):
            yield Result(
                goal=f"3 {SIGNALS_PER_S}/s, {share}: feature to signal, p{percent}",
                unit="ms",
                rounds=[each.ms(percent) for each in ours[share]],
                floors=[each.ms(percent) for each in floors],
                target=at_most(limit, of="ratio"),
            )


async def echoed(here: Stage, per_s: float) -> Lap:
    """What a raw echo takes for vectors at the rate."""
    with here.echo() as (_, found):
        fed = await here.feed(echo.TAKES, int(per_s * SECONDS), per_s=per_s).finished()
    handled = [each for each in _handled(found) if fed.began + WARM_S < each[0] <= fed.ended]
    await here.cleared()
    return Lap(
        per_s=len(handled) / (fed.ended - fed.began - WARM_S),
        fed_per_s=per_s * SECONDS / (fed.ended - fed.began),
        seconds=[seconds for _, seconds in handled],
    )


async def decided(here: Stage, worker: Service, per_s: float, *, last_s: float | None = None) -> Lap:
    """What the worker takes for vectors at the rate; with `last_s` only those decided that shortly before
    the feeder ended count."""
    await here.cleared()
    database = await asyncpg.connect(here.where.database_url)
    seen: dict[tuple[str, float], float] = {}
    try:
        before = decisions(worker)
        feeding = asyncio.create_task(
            here.feed(topology.FEATURES_LIVE.name, int(per_s * SECONDS), per_s=per_s).finished()
        )
        while not feeding.done():
            await _look(database, seen)
            await asyncio.wait([feeding], timeout=0.5)
        fed = await feeding
        handled = decisions(worker) - before
        await asyncio.sleep(FLUSHED_S)
        await _look(database, seen)
    finally:
        await database.close()
    await here.cleared()
    await here.settled(worker)
    first = fed.began + WARM_S if last_s is None else fed.ended - last_s
    # What is decided on later counts as well, unless there is no end of it.
    last = fed.ended + (FLUSHED_S if last_s is None else 0.0)
    seconds = [at - computed_at for (_, computed_at), at in seen.items() if first < at <= last]
    fed_s = fed.ended - fed.began
    return Lap(per_s=handled / fed_s, fed_per_s=per_s * SECONDS / fed_s, seconds=seconds)


async def wired(here: Stage, takes: str, gives: str, *, buys: float) -> Lap:
    """What vectors on one queue take to what comes of them on another."""
    await here.cleared()
    async with listening(here, gives) as heard:
        fed = await here.feed(takes, SIGNALS_PER_S * SECONDS, per_s=SIGNALS_PER_S, buys=buys).finished()
        await asyncio.sleep(WARM_S)
    counted = [each.seconds for each in heard if each.at > fed.began + WARM_S]
    if not counted:
        raise RuntimeError(f"nothing came of the vectors on {takes}")
    fed_s = fed.ended - fed.began
    return Lap(per_s=len(counted) / fed_s, fed_per_s=SIGNALS_PER_S * SECONDS / fed_s, seconds=counted)


@asynccontextmanager
async def listening(here: Stage, queue: str) -> AsyncIterator[list[Heard]]:
    """What the queue brings meanwhile."""
    heard: list[Heard] = []

    async def hear(message: AbstractIncomingMessage) -> None:
        now, body = time.time(), msgspec.json.decode(message.body)
        heard.append(Heard(at=now, seconds=now - _computed_at(body), version=body.get("model_version")))

    source = await here.channel.get_queue(queue)
    tag = await source.consume(hear, no_ack=True)
    try:
        yield heard
    finally:
        await source.cancel(tag)


def _computed_at(body: dict[str, Any]) -> float:
    told: str = body["metadata"]["feature_timestamp"] if "metadata" in body else body["timestamp"]
    return datetime.fromisoformat(told).timestamp()


def _handled(found: Path) -> list[tuple[float, float]]:
    return msgspec.json.decode(found.read_bytes(), type=list[tuple[float, float]])


async def _look(database: asyncpg.Connection, seen: dict[tuple[str, float], float]) -> None:
    for row in await database.fetch(
        "SELECT symbol, extract(epoch FROM feature_timestamp)::float8 AS computed_at,"
        " extract(epoch FROM decided_at)::float8 AS decided_at FROM latest_outcomes WHERE reason = 'hold'"
    ):
        seen[row["symbol"], row["computed_at"]] = row["decided_at"]
