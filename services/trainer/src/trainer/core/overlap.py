"""Do neighbouring labels share their future, as they must where rows lie closer than the horizon?

Rows that were shuffled and stamped anew pass every check of their timestamps, and then a model meets the
neighbours of its test rows in train. Their labels give them away: neighbours agree no more than strangers.
"""

import math

import numpy as np
import numpy.typing as npt

LEAST_EXCESS = 0.1
"""Of the agreement that chance leaves open: in a random walk neighbours have 0.22 of it at two rows a
horizon, and more at more."""
MIN_ROWS = 1000


def excess_agreement(came: npt.NDArray[np.int64], *, horizon_rows: float) -> float | None:
    """How much more often neighbours have the same outcome than strangers, 1 for always.

    None where that says nothing: rows a horizon apart, fewer than MIN_ROWS, or one outcome only.
    """
    if horizon_rows < 2 or len(came) < MIN_ROWS:
        return None
    rates = np.unique(came, return_counts=True)[1] / len(came)
    chance = float(rates @ rates)
    if math.isclose(chance, 1.0):
        return None
    agree = float(np.mean(came[1:] == came[:-1]))
    return (agree - chance) / (1 - chance)
