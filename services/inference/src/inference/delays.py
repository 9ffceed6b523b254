"""The processing delay: from the arrival of a vector to the broker's confirm of its signal.

This process observes its own signals as a histogram; the alert looks at the whole fleet's in the outbox, so
that one that a relay finished late is seen as well.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import Histogram
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from common.alerts import raise_alert, resolve_alert
from common.core.trading_state import FLEET
from common.processing_delay import BOUNDS_S
from common.tables import signal_outbox
from inference.events import Event

log = structlog.get_logger(__name__)

ALERT = "processing_delay"
"""The kind of the alert."""
LOOK_BACK = timedelta(minutes=10)
"""The alert is over once no signal of this time was late."""

DELAY_S = Histogram(
    "flotilla_signal_processing_delay_seconds",
    "From the arrival of the vector to the confirmed publish of its signal.",
    ["strategy_id"],
    buckets=BOUNDS_S,
)


class Delays:
    """Watches how long signals take; `threshold_s` is what is too long."""

    def __init__(self, engine: AsyncEngine, threshold_s: float, strategies: Iterable[str] = ()) -> None:
        self._engine = engine
        for strategy_id in strategies:
            DELAY_S.labels(strategy_id)  # from 0 on: what begins with its first signal shows no increase
        self._threshold = timedelta(seconds=threshold_s)

    def note(self, strategy_id: str, arrived_at: datetime, published_at: datetime) -> None:
        """A signal of this process was confirmed at `published_at`; its vector came at `arrived_at`."""
        delay_s = (published_at - arrived_at).total_seconds()
        DELAY_S.labels(strategy_id).observe(delay_s)

    async def look(self) -> None:
        """There is an alert while signals of the last LOOK_BACK were, or still are, published too late."""
        async with self._engine.begin() as connection:
            done_at = func.coalesce(signal_outbox.c.published_at, func.now())
            delay = done_at - signal_outbox.c.created_at
            row = (
                await connection.execute(
                    select(func.count().label("signals"), func.max(delay).label("longest")).where(
                        # What took that long began that much earlier.
                        signal_outbox.c.created_at > datetime.now(UTC) - LOOK_BACK - 2 * self._threshold,
                        done_at > datetime.now(UTC) - LOOK_BACK,
                        signal_outbox.c.state != "expired",
                        delay > self._threshold,
                    )
                )
            ).one()
            if not row.signals:
                await resolve_alert(connection, ALERT, FLEET)
                return
            figures = {
                "signals": row.signals,
                "longest_seconds": round(row.longest.total_seconds(), 3),
                "threshold_seconds": self._threshold.total_seconds(),
                "look_back_seconds": LOOK_BACK.total_seconds(),
            }
            sentence = (
                f"{row.signals} signals took longer than {self._threshold.total_seconds():g} s from decision"
                f" to publish, the longest {row.longest.total_seconds():.1f} s"
            )
            is_new = await raise_alert(connection, ALERT, FLEET, sentence, figures=figures)
        if is_new:
            log.warning(Event.SIGNALS_DELAYED, **figures)
