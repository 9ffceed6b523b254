"""When is a strategy that has a model trained again: by the clock, or some days after the last time."""

from datetime import UTC, datetime, timedelta

import msgspec
from cronsim import CronSim, CronSimError

NAMED = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 0"}
"""Words instead of a cron expression; all of them in UTC, a week begins on Sunday."""

_ANY_DAY = datetime(2024, 1, 1, tzinfo=UTC)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator has said about retraining."""

    expression: str | None
    """Five fields of cron in UTC, or one of NAMED; None: the interval alone counts."""
    interval_days: float


def checked(expression: str) -> str:
    """The expression as it is; raises ValueError saying what is wrong with it."""
    try:
        instant = next(CronSim(_fields(expression), _ANY_DAY), None)
    except CronSimError as error:
        words = ", ".join(NAMED)
        raise ValueError(f"{expression!r} is neither one of {words} nor cron: {error}") from error
    if instant is None:
        raise ValueError(f"{expression!r} never comes")
    return expression


def next_training(schedule: Schedule, last_trained_at: datetime) -> datetime:
    """The first instant after `last_trained_at` at which the strategy is due.

    It may lie in the past: then what was missed is due once, however often it was missed.
    """
    if schedule.expression is None:
        return last_trained_at + timedelta(days=schedule.interval_days)
    return next(CronSim(_fields(schedule.expression), last_trained_at.astimezone(UTC)))


def _fields(expression: str) -> str:
    return NAMED.get(expression.strip().lower(), expression)
