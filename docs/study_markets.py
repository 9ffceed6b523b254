"""The study's markets: what is true of each is known, because it was put there.

A market is a function of a seed and a number of bars: rows as the Feature Service delivers them.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl

from sandbox.core.features import feature_table
from sandbox.core.market import Candles, Floats, edge_report, label, synthetic

SYMBOL = "BTCUSDT"
START = datetime(2024, 1, 1, tzinfo=UTC)
BAR = timedelta(minutes=5)
HORIZON_BARS = 4
HISTORY_BARS = 50
PAYING_EDGE = 0.2
MOSTLY_FLAT_THRESHOLD = 0.0038
"""About nine labels in ten are 0."""

Kind = Callable[[int, int], pl.DataFrame]
"""Rows of a market: seed and number of bars."""


class Lengths(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of each split, and how many runs follow one another, each a test further on."""

    train: int = 5000
    validation: int = 1000
    test: int = 2000
    runs: int = 4

    def bars(self) -> int:
        """Rows that all runs together need."""
        return self.train + self.validation + self.test * self.runs + 1


def balanced(edge: float) -> Kind:
    """Classes of nearly equal frequency, and an edge of that size for whoever knows the direction."""

    def rows(seed: int, bars: int) -> pl.DataFrame:
        candles = synthetic(seed, SYMBOL, bars + HISTORY_BARS + HORIZON_BARS, edge)
        return rows_of(candles, bars, edge_report(edge).threshold)

    return rows


def mostly_flat(seed: int, bars: int) -> pl.DataFrame:
    """No edge, and always saying "flat" is right nine times in ten."""
    candles = synthetic(seed, SYMBOL, bars + HISTORY_BARS + HORIZON_BARS, 0.0)
    return rows_of(candles, bars, MOSTLY_FLAT_THRESHOLD)


def restless(seed: int, bars: int) -> pl.DataFrame:
    """No edge, but quiet and wild stretches that can be foreseen: the size of moves, never their side."""
    candles = synthetic(seed, SYMBOL, bars + HISTORY_BARS + HORIZON_BARS, 0.0)
    turns = np.random.default_rng(seed).random(len(candles)) < 1 / 100
    scale = np.where(np.cumsum(turns) % 2, 2.0, 0.5)
    return rows_of(_scaled(candles, scale), bars, edge_report(0.0).threshold)


def label_among_the_features(seed: int, bars: int) -> pl.DataFrame:
    """No edge, and a column that is the label."""
    rows = balanced(0.0)(seed, bars)
    return rows.with_columns(hint=rows["target"] * 1.0)


def future_among_the_features(seed: int, bars: int) -> pl.DataFrame:
    """No edge, and a column that is the price's move over the horizon."""
    rows = balanced(0.0)(seed, bars)
    ahead = rows["mid_price"].shift(-HORIZON_BARS) / rows["mid_price"] - 1
    return rows.with_columns(hint=ahead.fill_null(0.0))


def shuffled(seed: int, bars: int) -> pl.DataFrame:
    """No edge; rows dealt to the splits at random and stamped anew, so that neighbours are on both sides."""
    rows = balanced(0.0)(seed, bars)
    dealt = rows.drop("timestamp").sample(fraction=1.0, shuffle=True, seed=seed)
    return dealt.with_columns(timestamp=rows["timestamp"])


def dealt_at_random(seed: int, bars: int) -> pl.DataFrame:
    """The same with their own timestamps, each split in time order."""
    rows = balanced(0.0)(seed, bars).sample(fraction=1.0, shuffle=True, seed=seed)
    lengths = Lengths()
    borders = [0, lengths.train, lengths.train + lengths.validation, bars]
    parts = [rows[start:end] for start, end in pairwise(borders)]
    return pl.concat([part.sort("timestamp") for part in parts])


def rows_of(
    candles: Candles, bars: int, threshold: float, *, horizon_bars: int = HORIZON_BARS
) -> pl.DataFrame:
    """The first `bars` bars with enough history: instants, features and the label of the return ahead."""
    names, table = feature_table(candles)
    used = slice(HISTORY_BARS, HISTORY_BARS + bars)
    return pl.DataFrame(
        {
            "timestamp": [START + BAR * index for index in range(bars)],
            "symbol": [SYMBOL] * bars,
            **{name: table[used, column] for column, name in enumerate(names)},
            "target": label(candles, horizon_bars, threshold)[used],
        }
    )


def _scaled(candles: Candles, scale: Floats) -> Candles:
    def moved(price: Floats) -> Floats:
        return np.log(price / candles.open) * scale

    closes = np.cumsum(moved(candles.close))
    opened = candles.open[0] * np.exp(np.concatenate(([0.0], closes[:-1])))
    return Candles(
        open=opened,
        high=opened * np.exp(moved(candles.high)),
        low=opened * np.exp(moved(candles.low)),
        close=candles.open[0] * np.exp(closes),
        volume=candles.volume,
        spread_rel=candles.spread_rel,
    )


WITHOUT_EDGE: dict[str, Kind] = {
    "no edge, classes balanced": balanced(0.0),
    "no edge, nine labels in ten flat": mostly_flat,
    "no edge, size of moves foreseeable": restless,
    "no edge, classes balanced, no test split": balanced(0.0),
}
WITH_EDGE: dict[str, Kind] = {f"edge {PAYING_EDGE:g}, pays after costs": balanced(PAYING_EDGE)}
SUCCESSORS: dict[str, Kind] = {
    f"edge {PAYING_EDGE:g}, successors of an active version": balanced(PAYING_EDGE)
}
"""The recipe has not changed and neither has the market: about every second one is a little worse."""
LEAKS: dict[str, Kind] = {
    "leak: the label among the features": label_among_the_features,
    "leak: the future return among the features": future_among_the_features,
    "leak: splits dealt at random": dealt_at_random,
    "leak: splits dealt at random and stamped anew": shuffled,
}
WITHOUT_TEST = "no edge, classes balanced, no test split"
