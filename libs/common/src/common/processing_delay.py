"""How long signals take from their decision to the broker's confirm, over the whole fleet."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import Double, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from common.tables import signal_outbox

BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0)
"""Upper bounds of the buckets, in seconds; what took longer is in one more."""


class ProcessingDelay(msgspec.Struct, frozen=True, kw_only=True):
    """The delays of published signals, in seconds."""

    total_signals: int
    """Signals that were published."""
    average_delay_seconds: float | None
    """Null: no signal was published."""
    max_delay_seconds: float | None
    """The longest; null: no signal was published."""
    bucket_counts: dict[str, int]
    """How many signals took less than a bound but not less than the one before: `<0.05` ... `>=300`."""
    last_reset: datetime
    """From when on signals are counted here."""


async def processing_delay(connection: AsyncConnection, since: datetime) -> ProcessingDelay:
    """The delays of the signals, entries and exits, that were decided at `since` or later and published."""
    delay = signal_outbox.c.published_at - signal_outbox.c.created_at
    delay_s = cast(func.extract("epoch", delay), Double)
    bucket = func.width_bucket(delay_s, cast(list(BOUNDS_S), ARRAY(Double)))
    delays = (
        select(delay_s.label("delay_s"), bucket.label("bucket"))
        .where(signal_outbox.c.created_at >= since, signal_outbox.c.published_at.is_not(None))
        .subquery()
    )
    rows = await connection.execute(
        select(
            delays.c.bucket,
            func.count().label("signals"),
            func.sum(delays.c.delay_s).label("sum_s"),
            func.max(delays.c.delay_s).label("max_s"),
        ).group_by(delays.c.bucket)
    )
    found = {row.bucket: row for row in rows}
    total = sum(row.signals for row in found.values())
    return ProcessingDelay(
        total_signals=total,
        average_delay_seconds=sum(row.sum_s for row in found.values()) / total if total else None,
        max_delay_seconds=max((row.max_s for row in found.values()), default=None),
        bucket_counts=_named({bucket: row.signals for bucket, row in found.items()}),
        last_reset=since,
    )


def _named(counts: Mapping[int, int]) -> dict[str, int]:
    names = [*(f"<{bound:g}" for bound in BOUNDS_S), f">={BOUNDS_S[-1]:g}"]
    return {name: counts.get(bucket, 0) for bucket, name in enumerate(names)}
