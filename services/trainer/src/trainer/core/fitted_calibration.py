"""Which calibrated probability does a raw answer stand for? Fitted on validation, never on test."""

import numpy as np
import numpy.typing as npt

from common.core.calibration import Table, calibrate

BINS = 20

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


def fit_tables(raw: Floats, classes: Classes) -> tuple[Table, ...]:
    """One rising table per class: isotonic over BINS bins of equally many rows, class against the rest."""
    return tuple(_fit(raw[:, each], (classes == each).astype(float)) for each in range(raw.shape[1]))


def calibrated(raw: Floats, tables: tuple[Table, ...]) -> Floats:
    """Every row through the function that inference serves with."""
    return np.array([calibrate(row, tables) for row in raw.tolist()], dtype=np.float64).reshape(raw.shape)


def fit_sign_table(predicted: Floats, came: Floats) -> Table:
    """Size of a predicted number (n,) -> probability that its sign is that of what `came` (n,), rising."""
    return _fit(np.abs(predicted), (np.sign(predicted) == np.sign(came)).astype(float))


def sign_confidence(predicted: Floats, table: Table) -> Floats:
    """Probability (n,) that the sign of each prediction is right: linear between the points, flat outside."""
    sizes, confidences = zip(*table, strict=True)
    found: Floats = np.interp(np.abs(predicted), sizes, confidences)
    return found


def _fit(raw: Floats, observed: Floats) -> Table:
    order = np.argsort(raw, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    blocks = [[float(raw[rows].mean()), float(observed[rows].mean()), float(len(rows))] for rows in bins]
    # Pool adjacent violators: neighbours that fall are one block.
    pooled: list[list[float]] = []
    for block in blocks:
        pooled.append(block)
        while len(pooled) > 1 and (pooled[-2][1] >= pooled[-1][1] or pooled[-2][0] >= pooled[-1][0]):
            right, left = pooled.pop(), pooled.pop()
            weight = left[2] + right[2]
            pooled.append(
                [(left[part] * left[2] + right[part] * right[2]) / weight for part in (0, 1)] + [weight]
            )
    return tuple((x, y) for x, y, _ in pooled)
