"""The training queue: whose turn is it, and how has it fared?

The most urgent training is first, and waiting makes every one of them more urgent.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

Priority = Literal["CRITICAL", "HIGH", "NORMAL"]

PRIORITIES: tuple[Priority, ...] = ("CRITICAL", "HIGH", "NORMAL")
"""Most urgent first."""
AGING = timedelta(minutes=30)
"""A run that has waited for so long counts as one priority higher, and so on."""


class TrainingFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How the runs went that there have been."""

    total_runs: int
    """Those that ended."""
    succeeded: int
    """A version came of them."""
    rejected: int
    """What came of them was no version to keep."""
    failed: int
    """They broke off."""
    cancelled: int
    """Somebody called them off."""
    recovered: int
    """How often a run was taken over from a trainer that went silent."""
    success_rate: float | None
    """Succeeded among those that ended and were not cancelled, as a fraction; null: there are none."""
    average_duration_seconds: float | None
    """From the first step to the end of those that succeeded; null: none did."""
    max_duration_seconds: float | None
    """The longest of these."""
    average_wait_seconds: float | None
    """From the request to the first step; null: none got so far."""
    max_wait_seconds: float | None
    """The longest of these."""
    max_queue_depth: int
    """Most runs that waited for their first step at one instant."""


def level(priority: str, waited: timedelta) -> int:
    """How urgent a run is after waiting: 0 is CRITICAL."""
    ranks: tuple[str, ...] = PRIORITIES
    return max(0, ranks.index(priority) - max(0, waited // AGING))


def turn(priority: str, requested_at: datetime, now: datetime) -> tuple[int, datetime]:
    """Sorts runs by whose turn it is: by level, within one by who came first."""
    return level(priority, now - requested_at), requested_at
