"""Calibration: what a model's raw class probabilities mean, by the table fitted with it.

One table per class (one against the rest): points (raw, observed) in rising order, linear in between, flat
outside. The trainer fits and evaluates with the function that inference serves with.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

Table = tuple[tuple[float, float], ...]
"""Points (raw probability, calibrated probability); raw strictly rising."""


def calibrate(probabilities: Sequence[float], tables: Sequence[Table]) -> tuple[float, ...]:
    """The calibrated probabilities of one row, summing to 1; without tables the raw ones.

    A row that the tables send to all zeros keeps its raw values. NaN stays NaN.
    """
    if not tables:
        return tuple(probabilities)
    mapped = [interpolate(raw, table) for raw, table in zip(probabilities, tables, strict=True)]
    # Exact: the order of the classes must not decide.
    total = math.fsum(mapped)
    if total == 0:
        return tuple(probabilities)
    return tuple(value / total for value in mapped)


def interpolate(raw: float, table: Table) -> float:
    """What `table` says of `raw`: linear between its points, flat outside. NaN stays NaN."""
    if raw != raw:  # noqa: PLR0124 - NaN is the one value that is not itself
        return raw
    after = bisect_right(table, raw, key=lambda point: point[0])
    if after == 0:
        return table[0][1]
    if after == len(table):
        return table[-1][1]
    (left, low), (right, high) = table[after - 1], table[after]
    return low + (high - low) * (raw - left) / (right - left)
