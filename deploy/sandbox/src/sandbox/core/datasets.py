"""Datasets: which bars belong to which split, and what is each one's target?

Splits are cut by time as the Feature Service cuts them, traps included: nothing is left out between them,
so that the labels at the end of train and of validation look `horizon` into the split that follows, and
the test split includes its end.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from sandbox.core.features import FEATURE_NAMES
from sandbox.core.market import Candles, Classes, Floats, label

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """From `start` to `end`, both UTC-aware."""

    start: datetime
    end: datetime


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be foreseen: the return over `horizon` seconds, as a class or as a number."""

    type: Literal["regression", "classification", "risk_adjusted"]
    horizon: int
    threshold: float | None = None


class BarClock(msgspec.Struct, frozen=True, kw_only=True):
    """Bar 0 closed at `first_close`, each further one `bar` later; `closed` of them have closed by now."""

    first_close: datetime
    bar: timedelta
    closed: int

    def within(self, period: Period, *, includes_end: bool) -> range:
        """The closed bars whose close lies in `period`."""
        start = self._first_at_or_after(period.start)
        stop = self._first_at_or_after(period.end)
        if includes_end and self.first_close + stop * self.bar == period.end:
            stop += 1
        return range(min(max(start, 0), self.closed), min(max(stop, 0), self.closed))

    def bars_in(self, seconds: float) -> int:
        """A duration in bars, rounded; at least one."""
        return max(round(seconds / self.bar.total_seconds()), 1)

    def _first_at_or_after(self, moment: datetime) -> int:
        return -((self.first_close - moment) // self.bar)


def split_bars(clock: BarClock, periods: Mapping[Split, Period]) -> dict[Split, range]:
    """The bars of each split that have closed, with or without a label."""
    return {split: clock.within(periods[split], includes_end=split == "test") for split in SPLITS}


def labelled(bars: range, clock: BarClock, horizon_bars: int) -> range:
    """Those of `bars` whose price after `horizon_bars` is known by now."""
    return range(bars.start, max(bars.start, min(bars.stop, clock.closed - horizon_bars)))


def targets(
    candles: Candles, features: Floats, bars: range, horizon_bars: int, target: Target
) -> Classes | Floats:
    """One target per bar of `bars`, all of them labelled: int64 classes, or float64 for the other types.

    Classes are -1, 0 and 1 by `threshold` as a fraction (none counts as 0). A risk-adjusted return is
    divided by volatility_48, NaN where that is unknown or 0.
    """
    window = candles.part(bars.start, bars.stop + horizon_bars)
    if target.type == "classification":
        return label(window, horizon_bars, target.threshold or 0.0)
    price = window.close[: len(bars)]
    change: Floats = (window.close[horizon_bars:] - price) / price
    if target.type == "regression":
        return change
    volatility = features[bars.start : bars.stop, FEATURE_NAMES.index("volatility_48")]
    adjusted: Floats = np.full(len(bars), np.nan)
    np.divide(change, volatility, out=adjusted, where=volatility > 0)
    return adjusted


def close_times_us(clock: BarClock, bars: range) -> npt.NDArray[np.int64]:
    """When each of `bars` closed, in microseconds since the epoch."""
    microsecond = timedelta(microseconds=1)
    epoch = datetime(1970, 1, 1, tzinfo=clock.first_close.tzinfo)
    first_us = (clock.first_close - epoch) // microsecond
    return first_us + np.arange(bars.start, bars.stop, dtype=np.int64) * (clock.bar // microsecond)
