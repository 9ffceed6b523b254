"""Candle features: which numbers describe the market at the close of a bar? (registry candles-1)

Row i is made of the last `HISTORY_BARS` bars up to i alone, by the same arithmetic wherever the
window lies: a live vector and the row of a dataset are equal to the last bit.
"""

import math
from collections.abc import Callable

import numpy as np

from sandbox.core.market import Candles, Floats

REGISTRY_VERSION = "candles-1"
HISTORY_BARS = 49
FEATURE_NAMES = (
    "mid_price",  # close of the bar
    "spread_rel",  # fraction of the price
    "returns_1",  # close to close over 1, 3, 12 bars, fraction
    "returns_3",
    "returns_12",
    "volatility_12",  # standard deviation of returns_1, fraction
    "volatility_48",
    "volume_1",  # base currency
    "volume_ratio_12",  # the bar's volume to the mean of the 12 or 48 bars before it
    "volume_ratio_48",
    "close_location",  # where in low..high the bar closed, 0..1
    "body_ratio",  # (close - open) / (high - low), -1..1
    "range_rel",  # (high - low) / close
    "upper_wick_ratio",  # share of the range above the body, 0..1
    "mean_distance_48",  # close to the mean close of 48 bars, fraction
    "rsi_14",  # 0..100, plain means of gains and losses
)


def feature_table(candles: Candles) -> tuple[tuple[str, ...], Floats]:
    """Names and an (n, k) array, one row per bar; NaN where the history does not reach back far enough.

    Where a ratio has no denominator (a bar without range, no volume, no movement) it is neutral:
    0.5, 0 or 50 for locations, bodies and rsi_14, 1 for volume ratios.
    """
    close, volume = candles.close, candles.volume
    height = candles.high - candles.low
    body_top = np.maximum(candles.open, candles.close)
    change = _change(close, 1)
    gain, loss = _total(np.maximum(change, 0), 14), _total(np.maximum(-change, 0), 14)
    columns = {
        "mid_price": close,
        "spread_rel": candles.spread_rel,
        "returns_1": change,
        "returns_3": _change(close, 3),
        "returns_12": _change(close, 12),
        "volatility_12": _deviation(change, 12),
        "volatility_48": _deviation(change, 48),
        "volume_1": volume,
        "volume_ratio_12": _ratio(volume, _back(_total(volume, 12), 1) / 12, neutral=1.0),
        "volume_ratio_48": _ratio(volume, _back(_total(volume, 48), 1) / 48, neutral=1.0),
        "close_location": _ratio(close - candles.low, height, neutral=0.5),
        "body_ratio": _ratio(close - candles.open, height, neutral=0.0),
        "range_rel": height / close,
        "upper_wick_ratio": _ratio(candles.high - body_top, height, neutral=0.0),
        "mean_distance_48": close / (_total(close, 48) / 48) - 1,
        "rsi_14": 100 * _ratio(gain, gain + loss, neutral=0.5),
    }
    return FEATURE_NAMES, np.column_stack([columns[name] for name in FEATURE_NAMES])


def feature_row(candles: Candles) -> dict[str, float]:
    """The features at the close of the last bar; those without enough history are left out."""
    tail = candles.part(max(len(candles) - HISTORY_BARS, 0), len(candles))
    return present(feature_table(tail)[1][-1])


def present(row: Floats) -> dict[str, float]:
    """A row of the table as a vector's features: NaN is left out."""
    return {
        name: value for name, value in zip(FEATURE_NAMES, row.tolist(), strict=True) if not math.isnan(value)
    }


# Windows are sums of shifted arrays, in one order: a running sum would carry rounding from bar to bar.
def _window(values: Floats, bars: int, of_one: Callable[[Floats], Floats]) -> Floats:
    total = of_one(values)
    for lag in range(1, bars):
        total = total + of_one(_back(values, lag))
    return total


def _total(values: Floats, bars: int) -> Floats:
    return _window(values, bars, lambda part: part)


def _deviation(values: Floats, bars: int) -> Floats:
    mean = _total(values, bars) / bars
    return np.sqrt(_window(values, bars, lambda part: (part - mean) ** 2) / bars)


def _back(values: Floats, lag: int) -> Floats:
    shifted = np.full(len(values), np.nan)
    shifted[lag:] = values[: max(len(values) - lag, 0)]
    return shifted


def _change(close: Floats, bars: int) -> Floats:
    return close / _back(close, bars) - 1


def _ratio(part: Floats, whole: Floats, *, neutral: float) -> Floats:
    result = np.full(len(part), neutral)
    np.divide(part, whole, out=result, where=whole != 0)
    return result
