"""The market's clock: which bar has closed by now, and what does it look like?

One bar is `bar_seconds` of wall and data time alike. `history_bars` bars are stamped backwards from
`started_at`, the last of them closing at that instant; live goes on from there at the same pace.
A market of candle files ends with its shortest file: from then on it stands still, like a dead feed.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import numpy as np

from sandbox.core import market as generator
from sandbox.core.datasets import BarClock
from sandbox.core.features import HISTORY_BARS, feature_table, present
from sandbox.core.market import Candles, Floats

DEFAULT_HISTORY_BARS = 60_000
BARS_MADE_AT_ONCE = 10_000
"""Bars that a synthetic market makes beyond its history."""
BARS_AHEAD = 5_000
"""Fewer than so many bars before they are needed, more are made."""


class Market:
    """Symbols priced bar by bar; every question is about the last bar closed at `now` (UTC-aware).

    An unknown symbol is one without market data, as is any symbol before its first bar.
    """

    def __init__(
        self,
        series: Mapping[str, "Series"],
        *,
        started_at: datetime,
        bar_seconds: float,
        history_bars: int = DEFAULT_HISTORY_BARS,
    ) -> None:
        self.started_at = started_at
        self.bar = timedelta(seconds=bar_seconds)
        self.history_bars = history_bars
        self._series = dict(series)
        lengths = [each.length for each in self._series.values() if each.length is not None]
        self._bars = min(lengths, default=None)
        if self._bars is not None and self._bars <= history_bars:
            raise ValueError(f"{self._bars} bars leave nothing to trade after {history_bars} bars of history")

    @property
    def symbols(self) -> Sequence[str]:
        """The symbols that have prices, in the order given."""
        return tuple(self._series)

    def bar_index(self, now: datetime) -> int:
        """Index of the last closed bar, negative before the first; it stops at the end of a file."""
        index = self._unbounded_index(now)
        return index if self._bars is None else min(index, self._bars - 1)

    def closed_at(self, index: int) -> datetime:
        """The instant at which bar `index` closes."""
        return self.started_at + (index - self.history_bars + 1) * self.bar

    def exhausted(self, now: datetime) -> bool:
        """Whether the candles have run out: no further bar will close."""
        return self._bars is not None and self._unbounded_index(now) >= self._bars

    def price(self, symbol: str, now: datetime) -> float | None:
        """Close in quote currency, equal to the vector's mid_price; None without market data."""
        closed = self._closed(symbol, now)
        return None if closed is None else float(closed[0].candles(closed[1]).close[closed[1]])

    def spread_rel(self, symbol: str, now: datetime) -> float | None:
        """Bid-ask spread as a fraction of the price; None without market data."""
        closed = self._closed(symbol, now)
        return None if closed is None else float(closed[0].candles(closed[1]).spread_rel[closed[1]])

    def vector(self, symbol: str, now: datetime) -> dict[str, float]:
        """The features of the registry candles-1; empty without market data."""
        closed = self._closed(symbol, now)
        return {} if closed is None else closed[0].features(closed[1])

    def clock(self, now: datetime) -> BarClock:
        """When bars closed, and how many of them have."""
        return BarClock(first_close=self.closed_at(0), bar=self.bar, closed=max(self.bar_index(now) + 1, 0))

    def closed_bars(self, symbol: str, now: datetime) -> tuple[Candles, Floats] | None:
        """All bars closed by `now` and the table of their features; None without market data."""
        closed = self._closed(symbol, now)
        return None if closed is None else closed[0].up_to(closed[1])

    async def keep_ahead(self, clock: Callable[[], datetime], *, every_s: float = 1.0) -> None:
        """Makes bars in a thread before they are needed, until cancelled.

        Nobody has to wait on the event loop while a series becomes longer.
        """
        while True:
            needed = self.bar_index(clock()) + BARS_AHEAD
            for series in self._series.values():
                if series.lacks(needed):
                    await asyncio.to_thread(series.reach, needed)
            await asyncio.sleep(every_s)

    def _closed(self, symbol: str, now: datetime) -> "tuple[Series, int] | None":
        series, index = self._series.get(symbol), self.bar_index(now)
        return None if series is None or index < 0 else (series, index)

    def _unbounded_index(self, now: datetime) -> int:
        return self.history_bars - 1 + (now - self.started_at) // self.bar


class Series:
    """One symbol's bars with the table of their features, made longer when a later bar is asked for."""

    def __init__(self, candles: Candles, longer: Callable[[int], Candles] | None = None) -> None:
        self.length = len(candles) if longer is None else None
        self._longer = longer
        # One reference, replaced as a whole: a thread may lengthen what the event loop reads.
        self._known = (candles, feature_table(candles)[1])

    def lacks(self, index: int) -> bool:
        """Whether bar `index` has still to be made."""
        return self._longer is not None and index >= len(self._known[0])

    def reach(self, index: int) -> None:
        """The bars reach at least up to `index`, if there are so many; may run in a thread."""
        candles, table = self._known
        if self._longer is None or index < len(candles):
            return
        known = len(candles)
        candles = self._longer(max(index + 1, known + known // 2))
        start = max(known - HISTORY_BARS, 0)
        fresh = feature_table(candles.part(start, len(candles)))[1]
        self._known = (candles, np.concatenate([table, fresh[known - start :]]))

    def candles(self, index: int) -> Candles:
        """Bars that reach at least up to `index`."""
        self.reach(index)
        return self._known[0]

    def features(self, index: int) -> dict[str, float]:
        """The features at the close of bar `index`; NaN is left out."""
        self.reach(index)
        return present(self._known[1][index])

    def up_to(self, index: int) -> tuple[Candles, Floats]:
        """The bars up to and including `index`, with their features; views, not copies."""
        self.reach(index)
        candles, table = self._known
        return candles.part(0, index + 1), table[: index + 1]


def synthetic_series(
    symbol: str,
    *,
    seed: int,
    edge: float,
    horizon_bars: int = generator.DEFAULT_HORIZON_BARS,
    bars: int = DEFAULT_HISTORY_BARS + BARS_MADE_AT_ONCE,
) -> Series:
    """An endless series of the seeded generator, `bars` of it made at once."""
    longer = partial(_generated, seed, symbol, edge, horizon_bars)
    return Series(longer(bars), longer)


def _generated(seed: int, symbol: str, edge: float, horizon_bars: int, bars: int) -> Candles:
    return generator.synthetic(seed, symbol, bars, edge, horizon_bars=horizon_bars)
