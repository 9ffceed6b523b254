"""Goals 1, 5 and 10: how many vectors a second a worker decides on, beside a raw echo of the same vectors.

A round: the process under test stands still while a backlog is published, then goes on; how fast the
backlog shrinks is its rate, and its processor time meanwhile, divided by the vectors, its cost. The echo does
the same right before. The worker takes as few vectors ahead as the echo: the queue then shows what is left of
the backlog, and no two of a symbol are there at once, so that none is left out for a newer one. Every vector
carries 60 features; each of 100 symbols has a strategy and a model of its own, of 300 trees.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence

import msgspec
from tests.benchmarks import echo
from tests.benchmarks.processes import Service, Watched
from tests.benchmarks.result import Result, at_least
from tests.benchmarks.stage import Stage, stage

from common import topology
from sandbox.servers import Servers

SYMBOLS = 100
ROUNDS = 5
BACKLOG = 2500
SIGNALS = 300
"""Vectors of a round in which every one becomes a signal."""
BEGUN = 0.95
"""A backlog that is down to this share has been begun: what was in flight at first is gone."""
POLL_S = 0.02
LIMIT_S = 120.0
KINDS = {"HOLD": 0.0, "1 % signals": 0.01, "every vector a signal": 1.0}
UNWATCHED = "tests.benchmarks.unwatched"
CORES_FOR_TWO = 4
"""Two workers, a broker and a database side by side."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a backlog shrank."""

    per_s: float
    cpu_us: float
    """Processor time a vector, of all processes that worked on it."""
    share: float = 1.0
    """Of the backlog, that ended as asked."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A look at a backlog."""

    at: float
    waiting: int
    cpu_s: float


def pace(samples: Sequence[Sample], backlog: int) -> Pace:
    """Between the first look at a backlog that was begun and the last at one that was not yet gone.

    Raises RuntimeError where it went faster than anybody looked.
    """
    counted = [each for each in samples if 0 < each.waiting <= BEGUN * backlog]
    if len(counted) < 2 or counted[0].waiting == counted[-1].waiting:
        raise RuntimeError(f"a backlog of {backlog} was too short to be measured")
    first, last = counted[0], counted[-1]
    handled = first.waiting - last.waiting
    return Pace(per_s=handled / (last.at - first.at), cpu_us=(last.cpu_s - first.cpu_s) / handled * 1_000_000)


async def one_worker(servers: Servers) -> AsyncIterator[Result]:
    """Goal 1, and what a vector costs in processor time."""
    paces: dict[str, list[Pace]] = {kind: [] for kind in (*KINDS, "echo")}
    async with stage(servers, size=SYMBOLS) as here:
        with here.replica(prefetch=echo.PREFETCH) as worker, here.echo() as (floor, _):
            await here.warm(worker)
            for _ in range(ROUNDS):
                paces["echo"].append(await drained(here, echo.TAKES, [floor], BACKLOG))
                for kind, buys in KINDS.items():
                    paces[kind].append(await decided(here, [worker], buys=buys))
    targets = {"HOLD": at_least(1.0, of="ratio"), "1 % signals": at_least(0.9, of="ratio")}
    floors = paces["echo"]
    for kind in KINDS:
        yield Result(
            goal=f"1 {kind}: throughput",
            unit="vectors/s",
            rounds=[each.per_s for each in paces[kind]],
            floors=[each.per_s for each in floors],
            target=targets.get(kind, at_least(0.2, of="ratio")),
        )
        yield Result(
            goal=f"1 {kind}: processor time",
            unit="us/vector",
            rounds=[each.cpu_us for each in paces[kind]],
            floors=[each.cpu_us for each in floors],
        )
    yield Result(
        goal="1 every vector a signal: published",
        unit="%",
        rounds=[each.share * 100 for each in paces["every vector a signal"]],
    )


async def watching(servers: Servers) -> AsyncIterator[Result]:
    """Goal 5: the worker as it is against one whose metrics and trace ids do nothing."""
    shipped: list[Pace] = []
    bare: list[Pace] = []
    async with stage(servers, size=SYMBOLS) as here, stage(servers, size=SYMBOLS) as there:
        with (
            here.replica(prefetch=echo.PREFETCH) as worker,
            there.replica(module=UNWATCHED, prefetch=echo.PREFETCH) as blind,
        ):
            await here.warm(worker)
            await there.warm(blind)
            for _ in range(ROUNDS):
                bare.append(await drained(there, topology.FEATURES_LIVE.name, [blind], BACKLOG))
                shipped.append(await decided(here, [worker], buys=0.0))
    yield Result(
        goal="5 metrics and tracing on: throughput",
        unit="vectors/s",
        rounds=[each.per_s for each in shipped],
        floors=[each.per_s for each in bare],
        target=at_least(0.85, of="ratio"),
    )


async def two_workers(servers: Servers) -> AsyncIterator[Result]:
    """Goal 10: two replicas on the one queue against one of them; a target only where cores are left."""
    both: list[Pace] = []
    one: list[Pace] = []
    async with stage(servers, size=SYMBOLS) as here:
        with here.replica(prefetch=echo.PREFETCH) as first, here.replica(prefetch=echo.PREFETCH) as second:
            await here.warm(first, second)
            for _ in range(ROUNDS):
                one.append(await decided(here, [first], buys=0.0, standing=[second]))
                both.append(await decided(here, [first, second], buys=0.0))
    cores = os.cpu_count() or 1
    yield Result(
        goal=f"10 two replicas over one, {cores} cores: throughput",
        unit="vectors/s",
        rounds=[each.per_s for each in both],
        floors=[each.per_s for each in one],
        target=at_least(1.8, of="ratio") if cores >= CORES_FOR_TWO else None,
    )


async def decided(
    here: Stage, workers: Sequence[Service], *, buys: float, standing: Sequence[Service] = ()
) -> Pace:
    """How fast the workers decide on a backlog, `buys` of it ending in a signal.

    A vector that was refused (a deaf database, a newer vector) is no decision and does not count. Those that
    are `standing` consume the same queue and do nothing of it.
    """
    await here.cleared()
    everybody, backlog = [*workers, *standing], SIGNALS if buys == 1 else BACKLOG
    before = sum(_decided(each, signals_only=buys == 1) for each in everybody)
    for each in standing:
        each.pause()
    try:
        found = await drained(here, topology.FEATURES_LIVE.name, workers, backlog, buys=buys)
    finally:
        for each in standing:
            each.resume()
    await here.settled(*everybody)
    after = sum(_decided(each, signals_only=buys == 1) for each in everybody)
    share = (after - before) / backlog
    if not share:
        raise RuntimeError(f"none of {backlog} vectors ended as asked")
    return Pace(per_s=found.per_s * share, cpu_us=found.cpu_us / share, share=share)


async def drained(
    here: Stage, queue: str, consumers: Sequence[Watched], backlog: int, *, buys: float = 0.0
) -> Pace:
    """How fast the consumers take a backlog that was complete when they began."""
    for each in consumers:
        each.pause()
    try:
        await here.feed(queue, backlog, buys=buys).finished()
    finally:
        for each in consumers:
            each.resume()
    samples: list[Sample] = []
    deadline = time.monotonic() + LIMIT_S
    while not samples or samples[-1].waiting:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{queue} was not empty after {LIMIT_S:g} s")
        for each in consumers:
            each.check()
        waiting = await here.depth(queue)
        cpu_s = sum(each.cpu_s() for each in consumers)
        samples.append(Sample(at=time.perf_counter(), waiting=waiting, cpu_s=cpu_s))
        await asyncio.sleep(POLL_S)
    return pace(samples, backlog)


def _decided(replica: Service, *, signals_only: bool) -> float:
    holds = 0.0 if signals_only else replica.count("flotilla_skips", 'reason="hold"')
    return holds + replica.count("flotilla_signals", 'fate="published"')
