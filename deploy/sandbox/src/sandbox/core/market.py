"""Synthetic market: which candles does a seed give, and how much of them can be foreseen?

A hidden direction (+1 or -1, a telegraph process) tilts the returns of all bars while it lasts.
It shows only as an interaction: while it points up, rising bars trade on high volume and falling
bars on low volume; while it points down, the other way round. The sign of a bar says almost nothing
alone; its volume says a little, because falling bars speak less clearly: in a perfect interaction
a greedy tree finds no first split.

The tilt is solved for, not guessed: `edge` is by how much someone who knows the direction beats
always naming the most frequent class. `edge_report` holds the solution, `measured_lift` counts it.
Volatility clusters only mildly and briefly, because under a fixed label threshold a foreseeable
volatility would be an edge of its own.

All noise is a hash of (seed, symbol, stream, position), so a longer series begins with the shorter one.
"""

import hashlib
import math
from collections.abc import Callable
from functools import cache

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

DEFAULT_HORIZON_BARS = 4
MEAN_LIFE_HORIZONS = 10
BAR_VOLATILITY = 0.001
MAX_EDGE = 0.3


class Candles(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Bars in time order: float64 arrays of one length; prices in quote, volume in base currency.

    `spread_rel` is the bid-ask spread at the close as a fraction of the price.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    spread_rel: Floats

    def __len__(self) -> int:
        return len(self.close)

    def part(self, start: int, stop: int) -> "Candles":
        """The bars from `start` up to, not including, `stop`."""
        return Candles(**{name: getattr(self, name)[start:stop] for name in self.__struct_fields__})


class EdgeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a planted edge means for a label of `horizon_bars`: the generator's own truth.

    `drift_per_bar` and `threshold` are returns as fractions; the threshold makes the three classes
    equally frequent. `lift` is `accuracy` (direction known) minus `majority_rate`.
    """

    edge: float
    horizon_bars: int
    drift_per_bar: float
    threshold: float
    accuracy: float
    majority_rate: float
    lift: float


class MeasuredLift(msgspec.Struct, frozen=True, kw_only=True):
    """The same lift counted on generated bars, with the rates of the classes -1, 0 and 1."""

    rows: int
    class_rates: tuple[float, float, float]
    accuracy: float
    majority_rate: float
    lift: float


def synthetic(
    seed: int, symbol: str, bars: int, edge: float, *, horizon_bars: int = DEFAULT_HORIZON_BARS
) -> Candles:
    """`bars` candles; the same arguments give the same candles, fewer bars a prefix of them.

    Raises ValueError for an edge outside 0..MAX_EDGE.
    """
    drift = edge_report(edge, horizon_bars).drift_per_bar
    direction = latent_direction(seed, symbol, bars, horizon_bars=horizon_bars)
    noise = _Noise(seed, symbol)
    volatility = BAR_VOLATILITY * np.exp(
        _VOLATILITY_SWING * _smooth(noise, "volatility", bars) - _VOLATILITY_SWING**2
    )
    returns = drift * direction + volatility * noise.normal("return", bars)
    close = _price_level(seed, symbol) * np.exp(np.cumsum(returns))
    opened = np.concatenate(([_price_level(seed, symbol)], close[:-1]))[:bars]
    confirmed = np.where(returns >= 0, direction, -_FALLING_SHARE * direction)
    volume = _volume_level(seed, symbol) * np.exp(
        0.1 * _smooth(noise, "volume level", bars)
        + _VOLUME_CONTRAST * confirmed
        + 0.15 * noise.normal("volume", bars)
    )
    return Candles(
        open=opened,
        high=np.maximum(opened, close) * (1 + 0.5 * volatility * noise.exponential("upper wick", bars)),
        low=np.minimum(opened, close) * (1 - 0.5 * volatility * noise.exponential("lower wick", bars)),
        close=close,
        volume=volume,
        spread_rel=np.clip(0.0009 * np.exp(0.6 * _smooth(noise, "spread", bars)), 0.0002, 0.003),
    )


def latent_direction(
    seed: int, symbol: str, bars: int, *, horizon_bars: int = DEFAULT_HORIZON_BARS
) -> Classes:
    """The hidden direction (-1 or +1) of each bar that `synthetic` gives for the same arguments."""
    flips = _Noise(seed, symbol).uniform("direction", bars) < _flip_probability(horizon_bars)
    return 1 - 2 * (np.cumsum(flips) % 2)


def label(candles: Candles, horizon_bars: int, threshold: float) -> Classes:
    """Class of each bar's return over the next `horizon_bars`: 1 above, -1 below -`threshold`, else 0.

    The last `horizon_bars` bars have no label: the answer is that much shorter than the candles.
    """
    known = max(len(candles) - horizon_bars, 0)
    price = candles.close[:known]
    change = (candles.close[horizon_bars:] - price) / price
    return (change > threshold).astype(np.int64) - (change < -threshold)


@cache
def edge_report(edge: float, horizon_bars: int = DEFAULT_HORIZON_BARS) -> EdgeReport:
    """Drift and threshold at which knowing the direction is worth `edge` over the majority class.

    Raises ValueError for an edge outside 0..MAX_EDGE or a horizon below one bar.
    """
    if not 0 <= edge <= MAX_EDGE:
        raise ValueError(f"edge {edge} is outside 0..{MAX_EDGE}")
    if horizon_bars < 1:
        raise ValueError(f"horizon of {horizon_bars} bars: at least one is needed")
    drift = _bisect(lambda x: _accuracy(x, horizon_bars) - 1 / 3 - edge, upper=3.0) if edge else 0.0
    accuracy = _accuracy(drift, horizon_bars)
    return EdgeReport(
        edge=edge,
        horizon_bars=horizon_bars,
        drift_per_bar=drift * BAR_VOLATILITY,
        threshold=_threshold(drift, horizon_bars) * BAR_VOLATILITY,
        accuracy=accuracy,
        majority_rate=1 / 3,
        lift=accuracy - 1 / 3,
    )


def measured_lift(
    seed: int, symbol: str, bars: int, edge: float, *, horizon_bars: int = DEFAULT_HORIZON_BARS
) -> MeasuredLift:
    """How often the known direction names the right class on `bars` generated bars."""
    candles = synthetic(seed, symbol, bars, edge, horizon_bars=horizon_bars)
    classes = label(candles, horizon_bars, edge_report(edge, horizon_bars).threshold)
    direction = latent_direction(seed, symbol, bars, horizon_bars=horizon_bars)[: len(classes)]
    accuracy = float(np.mean(classes == direction))
    down, flat, up = (float(np.mean(classes == value)) for value in (-1, 0, 1))
    return MeasuredLift(
        rows=len(classes),
        class_rates=(down, flat, up),
        accuracy=accuracy,
        majority_rate=max(down, flat, up),
        lift=accuracy - max(down, flat, up),
    )


# Weights of the moving average behind volatility, volume level and spread: unit variance, gone
# after eight bars.
_SMOOTHING = 0.7 ** np.arange(8) / math.sqrt(float(np.sum(0.49 ** np.arange(8))))
_VOLATILITY_SWING = 0.12
_VOLUME_CONTRAST = 0.7
_FALLING_SHARE = 0.6


def _smooth(noise: "_Noise", stream: str, bars: int) -> Floats:
    taps = len(_SMOOTHING)
    draws = noise.normal(stream, bars + taps - 1)
    total = np.zeros(bars)
    for lag, weight in enumerate(_SMOOTHING):
        total += weight * draws[taps - 1 - lag : taps - 1 - lag + bars]
    return total


def _flip_probability(horizon_bars: int) -> float:
    return 1 / (MEAN_LIFE_HORIZONS * horizon_bars)


def _price_level(seed: int, symbol: str) -> float:
    if symbol.startswith("BTC"):
        return 60_000.0
    if symbol.startswith("ETH"):
        return 3_000.0
    return float(10 ** (3 * _hashed(seed, symbol, "price") / 2**64))


def _volume_level(seed: int, symbol: str) -> float:
    return 1e6 / _price_level(seed, symbol)


# The solution below counts in bar volatilities: drift and threshold are multiples of BAR_VOLATILITY.
def _accuracy(drift: float, horizon_bars: int) -> float:
    return _beyond(drift, horizon_bars, _threshold(drift, horizon_bars))


def _threshold(drift: float, horizon_bars: int) -> float:
    def below_third(threshold: float) -> float:
        up = _beyond(drift, horizon_bars, threshold)
        down = 1 - _beyond(drift, horizon_bars, -threshold)
        return 2 / 3 - up - down

    return _bisect(below_third, upper=(1 + drift) * horizon_bars)


# P(return over the horizon > level | the direction is up now): the direction may flip on the way,
# and the horizon's variance is spread by the clustering (lognormal with the exact first two moments).
def _beyond(drift: float, horizon_bars: int, level: float) -> float:
    total = 0.0
    for tilt, tilt_weight in _tilts(horizon_bars):
        for scale, scale_weight in _scales(horizon_bars):
            z = (level - drift * tilt) / scale
            total += tilt_weight * scale_weight * 0.5 * math.erfc(z / math.sqrt(2))
    return total


@cache
def _tilts(horizon_bars: int) -> tuple[tuple[int, float], ...]:
    flip = _flip_probability(horizon_bars)
    chance = {(0, 1): 1.0}
    for _ in range(horizon_bars):
        following: dict[tuple[int, int], float] = {}
        for (tilt, direction), weight in chance.items():
            for after, probability in ((direction, 1 - flip), (-direction, flip)):
                key = (tilt + after, after)
                following[key] = following.get(key, 0.0) + weight * probability
        chance = following
    merged: dict[int, float] = {}
    for (tilt, _direction), weight in chance.items():
        merged[tilt] = merged.get(tilt, 0.0) + weight
    return tuple(merged.items())


@cache
def _scales(horizon_bars: int) -> tuple[tuple[float, float], ...]:
    bars = np.arange(horizon_bars)
    lags = np.abs(bars[:, None] - bars[None, :])
    taps = len(_SMOOTHING)
    correlation = np.zeros(max(horizon_bars, taps))
    for lag in range(taps):
        correlation[lag] = float(np.sum(_SMOOTHING[: taps - lag] * _SMOOTHING[lag:]))
    spread = float(np.mean(np.exp(4 * _VOLATILITY_SWING**2 * correlation[lags]) - 1))
    width = math.sqrt(math.log1p(spread))
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    variances = horizon_bars * np.exp(width * nodes - width**2 / 2)
    return tuple(zip(np.sqrt(variances).tolist(), (weights / weights.sum()).tolist(), strict=True))


def _bisect(rising: Callable[[float], float], *, upper: float) -> float:
    lower = 0.0
    for _ in range(45):
        middle = (lower + upper) / 2
        if rising(middle) < 0:
            lower = middle
        else:
            upper = middle
    return (lower + upper) / 2


def _hashed(seed: int, symbol: str, stream: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{symbol}/{stream}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


class _Noise:
    # Position i of a stream is SplitMix64's output i: addressable, so nothing depends on the length.
    def __init__(self, seed: int, symbol: str) -> None:
        self._seed = seed
        self._symbol = symbol

    def uniform(self, stream: str, count: int) -> Floats:
        key = np.uint64(_hashed(self._seed, self._symbol, stream))
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        return ((z >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def exponential(self, stream: str, count: int) -> Floats:
        return -np.log(self.uniform(stream, count))

    def normal(self, stream: str, count: int) -> Floats:
        angle = 2 * math.pi * self.uniform(f"{stream} angle", count)
        return np.sqrt(2 * self.exponential(stream, count)) * np.cos(angle)
