"""Which training does a strategy ask for by itself, if any?

Without a version a first one, with one the next of its schedule. Never because of executions: models are
trained on the Feature Service's datasets only.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from common.core.training_schedule import Schedule, next_training

LONGEST_PAUSE = timedelta(hours=6)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a strategy's trainings."""

    last_trained_at: datetime | None
    """When a training of it last came to an end that counts; None: it has no version."""
    fruitless: int
    """Runs that ended without a version since then."""
    last_fruitless_at: datetime | None


def due(
    history: History, schedule: Schedule, *, retry_s: float, now: datetime
) -> Literal["bootstrap", "schedule"] | None:
    """The trigger that asks for a training now; None: not yet.

    What a schedule missed while nobody ran is due once. After each fruitless run the pause doubles, from
    `retry_s` up to LONGEST_PAUSE.
    """
    if not _rested(history, retry_s=retry_s, now=now):
        return None
    if history.last_trained_at is None:
        return "bootstrap"
    return "schedule" if now >= next_training(schedule, history.last_trained_at) else None


def _rested(history: History, *, retry_s: float, now: datetime) -> bool:
    if history.last_fruitless_at is None or not history.fruitless:
        return True
    pause = min(LONGEST_PAUSE, timedelta(seconds=retry_s * 2 ** min(history.fruitless - 1, 20)))
    return now >= history.last_fruitless_at + pause
