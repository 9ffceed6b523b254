"""Is the active version still as good as when it was promoted?

The newest live figures answer where enough has been scored, else the newest test, else validation.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

AGAIN_AFTER = timedelta(days=1)
"""While a version stays degraded, so long passes between the trainings that it asks for."""

Source = Literal["live", "test", "validation"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """An accuracy, on so many rows of a kind."""

    source: Source
    accuracy: float
    rows: int


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """How a version stands; `figures` are what the sentence rests on."""

    degraded: bool
    sentence: str
    promised: Figure
    newest: Figure

    def lost(self) -> float:
        """Accuracy, as a fraction of all rows."""
        return self.promised.accuracy - self.newest.accuracy


def newest_live(hours: Sequence[Figure], *, min_rows: int) -> Figure | None:
    """The newest of `hours`, newest first, that have `min_rows` rows together; None: all have fewer."""
    right, rows = 0.0, 0
    for hour in hours:
        right, rows = right + hour.accuracy * hour.rows, rows + hour.rows
        if rows >= min_rows:
            return Figure(source="live", accuracy=right / rows, rows=rows)
    return None


def quality(version: str, promised: Figure, newest: Figure, *, drop: float) -> Quality:
    """Degraded is what lost more than `drop`; written so that NaN counts as degraded."""
    holds = promised.accuracy - newest.accuracy <= drop
    return Quality(
        degraded=not holds,
        promised=promised,
        newest=newest,
        sentence=f"{version} is right in {newest.accuracy:.1%} of {newest.rows:,} {newest.source} rows, "
        f"{promised.accuracy:.1%} of {promised.rows:,} {promised.source} rows when it was promoted"
        + ("" if holds else f": worse by more than {drop:.1%} (QUALITY_DEGRADATION_DROP)"),
    )


def training_due(last_requested_at: datetime | None, *, activated_at: datetime, now: datetime) -> bool:
    """Once for every version that degrades, and again while it stays so."""
    if last_requested_at is None or last_requested_at < activated_at:
        return True
    return now - last_requested_at >= AGAIN_AFTER
