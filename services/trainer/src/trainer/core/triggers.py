"""When does a strategy without any version ask for its first training?"""

from datetime import datetime, timedelta

import msgspec

LONGEST_PAUSE = timedelta(hours=6)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a strategy that has no version."""

    fruitless: int
    """Runs that ended without a version, in a row."""
    last_finished_at: datetime | None


def bootstrap_due(history: History, *, retry_s: float, now: datetime) -> bool:
    """At once the first time; after each fruitless run the pause doubles, up to LONGEST_PAUSE."""
    if history.last_finished_at is None or not history.fruitless:
        return True
    pause = min(LONGEST_PAUSE, timedelta(seconds=retry_s * 2 ** min(history.fruitless - 1, 20)))
    return now >= history.last_finished_at + pause
