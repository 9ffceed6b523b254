"""What came of each vector: logged once per change, counted always, stored per minute for every replica."""

from collections import Counter
from datetime import datetime

import structlog
from prometheus_client import Counter as Metric
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from common.messages import FeatureVector
from common.tables import skip_counts
from inference.core.reasons import Reason, Skip
from inference.events import Event

log = structlog.get_logger(__name__)

VECTORS = Metric("flotilla_vectors", "Feature vectors received.")
SIGNALS = Metric("flotilla_signals", "Signals that ended so.", ["strategy_id", "fate"])
SKIPS = Metric("flotilla_skips", "Decisions that gave no signal.", ["strategy_id", "reason"])

_CountKey = tuple[datetime, str, str, Reason]


class SkipLedger:
    """Skips of this process: the last reason per strategy and symbol, and counts not stored yet."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], Reason | None] = {}
        self._counts: Counter[_CountKey] = Counter()

    def note_skip(self, strategy_id: str, vector: FeatureVector, skip: Skip, now: datetime) -> None:
        """Counted; logged where the reason differs from the strategy's and symbol's last outcome."""
        symbol = vector.symbol
        SKIPS.labels(strategy_id, skip.reason).inc()
        self._counts[now.replace(second=0, microsecond=0), strategy_id, symbol, skip.reason] += 1
        if self._last.get((strategy_id, symbol)) is not skip.reason:
            self._last[strategy_id, symbol] = skip.reason
            log.info(
                Event.SIGNAL_SKIPPED,
                reason=skip.reason,
                facts=skip.facts,
                price=vector.features.get("mid_price"),
                feature_timestamp=vector.timestamp.isoformat(),
            )

    def note_signal(self, strategy_id: str, symbol: str) -> None:
        """The next skip of the strategy and symbol is logged whatever its reason."""
        self._last[strategy_id, symbol] = None

    async def flush(self, engine: AsyncEngine) -> None:
        """The counts so far are added to skip_counts; where that fails they stay for the next flush."""
        counts, self._counts = self._counts, Counter()
        rows = [
            {
                "minute": minute,
                "strategy_id": strategy_id,
                "symbol": symbol,
                "reason": str(reason),
                "skips": skips,
            }
            for (minute, strategy_id, symbol, reason), skips in sorted(counts.items())
        ]
        if not rows:
            return
        statement = insert(skip_counts).values(rows)
        try:
            async with engine.begin() as connection:
                await connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["minute", "strategy_id", "symbol", "reason"],
                        set_={"skips": skip_counts.c.skips + statement.excluded.skips},
                    )
                )
        except (SQLAlchemyError, OSError) as error:
            self._counts.update(counts)
            log.warning(Event.SKIP_COUNTS_KEPT, reason=str(error), rows=len(rows))
