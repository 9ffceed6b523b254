"""When could the fleet be expected to keep its times? Not during faults, nor shortly after them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sandbox.core.audit.record import Gap, Record

HARMLESS = ("queue_poisoned", "state_halted", "state_reducing")
"""Faults that take nothing away from the fleet."""


def disturbances(record: Record, after: timedelta) -> list[Gap]:
    """Every fault with `after` behind it: the time in which answers may be late."""
    return [
        Gap(began_at=each.began_at, ended_at=each.healed_at + after)
        for each in record.faults
        if not each.kind.startswith(HARMLESS)
    ]


def overlaps(gaps: Sequence[Gap], began_at: datetime, ended_at: datetime) -> bool:
    """Whether any of `gaps` has a moment in common with the time between."""
    return any(each.began_at <= ended_at and each.ended_at >= began_at for each in gaps)
