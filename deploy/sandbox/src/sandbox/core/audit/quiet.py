"""When could the fleet be expected to keep its times? Not during faults, nor shortly after them."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from common.core.trading_state import EXITS, TradingState
from sandbox.core.audit.record import Gap, Record

HARMLESS = ("queue_poisoned", "state_halted", "state_reducing")
"""Faults that take nothing away from the fleet."""


def disturbances(record: Record, after: timedelta, of: Collection[str] | None = None) -> list[Gap]:
    """Every fault with `after` behind it: the time in which answers may be late.

    Only faults of the services or servers `of`, where these are named.
    """
    return [
        Gap(began_at=each.began_at, ended_at=each.healed_at + after)
        for each in record.faults
        if not each.kind.startswith(HARMLESS) and (of is None or each.kind.partition(" ")[2] in of)
    ]


def due_at(faults: Sequence[Gap], at: datetime, within: timedelta) -> datetime:
    """When what began at `at` has to be done: `within` later, and as long after each fault before that."""
    due = at + within
    for each in sorted(faults, key=lambda each: each.began_at):
        if each.began_at <= due:
            due = max(due, each.ended_at + within)
    return due


def overlaps(gaps: Sequence[Gap], began_at: datetime, ended_at: datetime) -> bool:
    """Whether any of `gaps` has a moment in common with the time between."""
    return any(each.began_at <= ended_at and each.ended_at >= began_at for each in gaps)


def exits_halted(record: Record) -> list[Gap]:
    """The times in which an operator halted exits by name."""
    changes = [each for each in record.state_changes if each.scope == EXITS]
    ends = [*(each.changed_at for each in changes[1:]), record.ended_at]
    return [
        Gap(began_at=each.changed_at, ended_at=ended_at)
        for each, ended_at in zip(changes, ends, strict=False)
        if each.state == TradingState.HALTED
    ]
