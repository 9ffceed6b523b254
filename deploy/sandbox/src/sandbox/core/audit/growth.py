"""Growth: does a process hold more and more, the longer it runs? Judged from samples of what it held."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import combinations

import msgspec

MIB = 1024 * 1024
RSS_LIMIT_MIB = 1.0
"""Most growth of resident memory in PER, in MiB."""
PER = timedelta(minutes=10)
MIN_JUDGED = timedelta(minutes=5)
"""A process that was seen for less, its warm-up not counted, is not judged: caches still fill."""
JITTER = 3
"""Descriptors or tasks that may come and go with a request."""
_POINTS = 120


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one process held at one moment."""

    at: datetime
    process: str
    pid: int
    rss_bytes: int
    descriptors: int
    tasks: int | None
    """Asyncio tasks; None where the process did not tell."""


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """How one process grew after its warm-up."""

    process: str
    pid: int
    rss_mib_per_10_minutes: float
    descriptors: float
    """Its median in the last third, less that in the first third."""
    tasks: float
    """The same of its tasks."""


def growths(usage: Sequence[Usage], *, warm_up: timedelta) -> list[Growth]:
    """One of each process that was seen for at least MIN_JUDGED after its warm-up."""
    by_pid: dict[tuple[str, int], list[Usage]] = defaultdict(list)
    for each in sorted(usage, key=lambda each: each.at):
        by_pid[each.process, each.pid].append(each)
    found = []
    for seen in by_pid.values():
        warm = [each for each in seen if each.at - seen[0].at >= warm_up]
        if warm and warm[-1].at - warm[0].at >= MIN_JUDGED:
            found.append(_growth(warm))
    return found


def leaks(usage: Sequence[Usage], *, warm_up: timedelta) -> list[str]:
    """One sentence for each thing that a process holds more and more of."""
    return [sentence for each in growths(usage, warm_up=warm_up) for sentence in _leaks(each)]


def _leaks(growth: Growth) -> Iterator[str]:
    who = f"{growth.process} (pid {growth.pid})"
    if growth.rss_mib_per_10_minutes >= RSS_LIMIT_MIB:
        yield f"{who} grew by {growth.rss_mib_per_10_minutes:.2f} MiB in 10 minutes"
    if growth.descriptors > JITTER:
        yield f"{who} holds {growth.descriptors:g} more file descriptors than it did"
    if growth.tasks > JITTER:
        yield f"{who} has {growth.tasks:g} more asyncio tasks than it had"


def _growth(warm: Sequence[Usage]) -> Growth:
    rss = [(each.at.timestamp(), float(each.rss_bytes)) for each in warm]
    return Growth(
        process=warm[0].process,
        pid=warm[0].pid,
        rss_mib_per_10_minutes=_slope(rss) * PER.total_seconds() / MIB,
        descriptors=_rise([float(each.descriptors) for each in warm]),
        tasks=_rise([float(each.tasks) for each in warm if each.tasks is not None]),
    )


# Median of all slopes between two points (Theil-Sen): a single burst does not tilt it.
def _slope(points: Sequence[tuple[float, float]]) -> float:
    thinned = points[:: max(len(points) // _POINTS, 1)]
    return statistics.median(
        (later[1] - earlier[1]) / (later[0] - earlier[0]) for earlier, later in combinations(thinned, 2)
    )


def _rise(values: Sequence[float]) -> float:
    third = len(values) // 3
    if not third:
        return 0.0
    return statistics.median(values[-third:]) - statistics.median(values[:third])
