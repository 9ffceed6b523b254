"""How sure is a model's advantage, when neighbouring rows share their future?

A circular block bootstrap: whole blocks of rows are drawn, so what binds neighbours stays inside.
"""

import math
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
DRAWN_AT_ONCE = 1_000_000
"""Blocks drawn in one go, for the memory's sake."""


class Draws(Protocol):
    """A seeded generator, as numpy's."""

    def integers(self, low: int, high: int, size: tuple[int, int]) -> npt.NDArray[np.int64]:
        """Whole numbers from `low` up to, not including, `high`."""
        ...


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A mean and the middle 95 % of its resampled values."""

    mean: float
    lower: float
    upper: float


def interval_of_mean(values: npt.NDArray[np.float64], *, horizon_rows: float, draws: Draws) -> Interval:
    """Mean of `values` (n,) in time order; without rows nothing is known, and the interval is -1 to 1.

    Blocks are at least a horizon long and n^(1/3) rows, whichever is more (Hall, Horowitz and Jing 1995).
    """
    rows = len(values)
    if not rows:
        return Interval(mean=0.0, lower=-1.0, upper=1.0)
    block = min(rows, math.ceil(max(horizon_rows, rows ** (1 / 3))))
    ahead = np.concatenate((values, values[: block - 1]))
    totals = np.concatenate(([0.0], np.cumsum(ahead)))
    sums = totals[block:] - totals[:-block]
    blocks = math.ceil(rows / block)
    at_once = max(1, DRAWN_AT_ONCE // blocks)
    means = [
        sums[draws.integers(0, rows, (min(at_once, RESAMPLES - done), blocks))].mean(axis=1) / block
        for done in range(0, RESAMPLES, at_once)
    ]
    lower, upper = np.quantile(np.concatenate(means), (0.025, 0.975))
    return Interval(mean=float(np.mean(values)), lower=float(lower), upper=float(upper))


def direction_lift(
    leant: npt.NDArray[np.int8], came: npt.NDArray[np.int8], *, horizon_rows: float, draws: Draws
) -> Interval:
    """How often the side leant to is right rather than wrong, a row, above the best constant answer.

    `leant` and `came` (n,) are -1 down, 0 flat, 1 up, in time order; a row without a move counts for nobody.
    The rivals are always up, always down and nothing: the one that leaves the least is the answer, so neither
    a market that drifted nor one whose moves are foreseeable in size alone makes a model look clever.
    """
    moved = came.astype(np.float64)
    right = leant * moved
    rivals = (np.zeros_like(moved), moved, -moved)
    above = [interval_of_mean(right - rival, horizon_rows=horizon_rows, draws=draws) for rival in rivals]
    return min(above, key=lambda interval: interval.lower)
