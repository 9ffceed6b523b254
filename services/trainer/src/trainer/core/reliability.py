"""How far does a confidence keep its word?"""

import msgspec
import numpy as np
import numpy.typing as npt

BINS = 10
"""Into which confidences from 0 to 1 are sorted, of equal width."""


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of like confidence: what was promised of them, and what came."""

    predicted: float
    """Mean confidence in the answer."""
    observed: float
    """Share of the answers that were right."""
    rows: int


def reliability(confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]) -> tuple[Bin, ...]:
    """How far a confidence (n,) keeps its word, the lowest first; a bin without rows is left out."""
    number = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(number, minlength=BINS)
    promised = np.bincount(number, weights=confidence, minlength=BINS)
    came = np.bincount(number, weights=correct, minlength=BINS)
    return tuple(
        Bin(
            predicted=float(promised[each] / rows[each]),
            observed=float(came[each] / rows[each]),
            rows=int(rows[each]),
        )
        for each in np.flatnonzero(rows)
    )
