"""Minute bars of the price that the fleet saw: what a chart of its decisions is drawn on.

Only vectors that passed the gates count. Each replica sees some of the vectors; a stored bar opens with the
earliest of them all and closes with the latest.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec
import structlog
from sqlalchemy import case, func
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncEngine

from common.database import DATABASE_ERRORS, store
from common.errors import first_line
from common.messages import FeatureVector, MarketSnapshot
from common.tables import minute_bars
from inference.events import Event

log = structlog.get_logger(__name__)

MAX_KEPT = 10_000
"""Bars that wait for a database at most; beyond it the oldest are lost."""
TOO_LARGE = Decimal(10) ** 18
"""The table's columns hold smaller prices only."""

_Key = tuple[str, datetime]


class Bar(msgspec.Struct, kw_only=True):
    """A minute of a symbol, as this process saw it since it last stored it; prices in quote currency."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    first_at: datetime
    last_at: datetime
    vectors: int = 1

    def add(self, other: "Bar") -> None:
        """Both are one bar."""
        if other.first_at < self.first_at:
            self.open, self.first_at = other.open, other.first_at
        if other.last_at >= self.last_at:
            self.close, self.last_at = other.close, other.last_at
        self.high = max(self.high, other.high)
        self.low = min(self.low, other.low)
        self.vectors += other.vectors


class MinuteBars:
    """The bars of this process that are not stored yet."""

    def __init__(self) -> None:
        self._bars: dict[_Key, Bar] = {}

    def note(self, vector: FeatureVector, snapshot: MarketSnapshot) -> None:
        """The vector's price is part of its minute's bar, by the vector's own time."""
        price = Decimal(repr(snapshot.price))
        if price < TOO_LARGE:
            seen_at = vector.timestamp
            bar = Bar(open=price, high=price, low=price, close=price, first_at=seen_at, last_at=seen_at)
            self._add((vector.symbol, seen_at.replace(second=0, microsecond=0)), bar)

    async def flush(self, engine: AsyncEngine) -> None:
        """The bars so far are part of minute_bars; where that fails they stay for the next flush."""
        bars, self._bars = self._bars, {}
        if not bars:
            return
        rows = (
            {"symbol": symbol, "minute": minute, **msgspec.structs.asdict(bar)}
            for (symbol, minute), bar in sorted(bars.items(), key=lambda each: each[0])
        )
        try:
            async with engine.begin() as connection:
                await store(connection, _MERGE, rows)
        except asyncio.CancelledError:  # the service stops: its last flush is still to come
            self._keep(bars)
            raise
        except DATABASE_ERRORS as error:
            self._keep(bars)
            lost = self._drop_oldest()
            reason = first_line(error)
            log.warning(Event.BARS_KEPT, reason=reason, rows=len(self._bars), lost=lost)

    def _add(self, key: _Key, bar: Bar) -> None:
        kept = self._bars.get(key)
        if kept is None:
            self._bars[key] = bar
        else:
            kept.add(bar)

    def _keep(self, bars: Mapping[_Key, Bar]) -> None:
        for key, bar in bars.items():
            self._add(key, bar)

    def _drop_oldest(self) -> int:
        by_age = sorted(self._bars, key=lambda key: key[1])
        surplus = by_age[: max(len(by_age) - MAX_KEPT, 0)]
        for key in surplus:
            del self._bars[key]
        return len(surplus)


def _merging() -> Insert:
    new = insert(minute_bars)
    kept, seen = minute_bars.c, new.excluded
    return new.on_conflict_do_update(
        index_elements=["symbol", "minute"],
        set_={
            "open": case((seen.first_at < kept.first_at, seen.open), else_=kept.open),
            "high": func.greatest(kept.high, seen.high),
            "low": func.least(kept.low, seen.low),
            "close": case((seen.last_at >= kept.last_at, seen.close), else_=kept.close),
            "first_at": func.least(kept.first_at, seen.first_at),
            "last_at": func.greatest(kept.last_at, seen.last_at),
            "vectors": kept.vectors + seen.vectors,
        },
    )


_MERGE = _merging()
