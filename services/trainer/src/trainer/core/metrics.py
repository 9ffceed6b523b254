"""How good are a model's answers on the rows of one split?

Figures have the names of the quality table; one that has no value on the rows at hand is left out: nothing
infinite and no NaN is ever handed on.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn import metrics as of

from trainer.core.reliability import reliability

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]
Instants = npt.NDArray[np.int64]

SIDES = {-1: "down", 0: "flat", 1: "up"}
"""How a class is named in a figure."""
_SMALLEST = 1e-15


def classification(
    probabilities: Floats,
    classes: Classes,
    *,
    majority: int,
    labels: Sequence[int] = (-1, 0, 1),
    persisted: Classes | None = None,
) -> dict[str, float]:
    """`probabilities` (n, labels) are calibrated, `classes` (n,) and `majority` indices into `labels`.

    Precision, recall, F1 and ROC AUC are means over the classes present, and stand once more for each class;
    `baseline_accuracy` is that of always naming `majority`, `persistence_accuracy` that of `persisted` (n,).
    """
    predicted = probabilities.argmax(axis=1)
    present = np.unique(classes)
    named = np.eye(probabilities.shape[1])[classes]
    chosen = probabilities[np.arange(len(classes)), classes]
    by_class = of.precision_recall_fscore_support(classes, predicted, labels=present, zero_division=0.0)[:3]
    ranked = present if len(present) > 1 else ()
    areas = [of.roc_auc_score(classes == each, probabilities[:, each]) for each in ranked]
    figures = {
        "accuracy": np.mean(predicted == classes),
        "baseline_accuracy": np.mean(classes == majority),
        "balanced_accuracy": np.mean(by_class[1]),
        "log_loss": -np.mean(np.log(np.maximum(chosen, _SMALLEST))),
        "brier": np.mean(np.sum((probabilities - named) ** 2, axis=1)) / 2,
        "ece": _expected_calibration_error(probabilities, predicted == classes),
        "mcc": of.matthews_corrcoef(classes, predicted) if len(present) > 1 else 0.0,
        "roc_auc": np.mean(areas) if areas else np.nan,
    }
    if persisted is not None:
        figures["persistence_accuracy"] = np.mean(persisted == classes)
    for name, values in zip(("precision", "recall", "f1"), by_class, strict=True):
        figures[name] = np.mean(values)
        figures |= {
            f"{name}_{SIDES[labels[each]]}": value for each, value in zip(present, values, strict=True)
        }
    return _finite(figures)


def confusion(predicted: Classes, classes: Classes, *, count: int) -> tuple[tuple[int, ...], ...]:
    """Rows of each true class (down) by the class that was named (across)."""
    table = of.confusion_matrix(classes, predicted, labels=range(count))
    return tuple(tuple(int(rows) for rows in line) for line in table)


def regression(
    predicted: Floats, came: Floats, *, majority: int, persisted: Floats | None = None
) -> dict[str, float]:
    """`predicted` and `came` (n,) are numbers of the target, `majority` the more frequent sign in train.

    `accuracy` is the directional one, the share of rows whose sign was foreseen, so that it stands beside
    that of always naming one side (`baseline_accuracy`) and of naming the last one known.
    """
    squared = of.mean_squared_error(came, predicted)
    sides = np.where(predicted >= 0, 1, -1)
    figures = {
        "mse": squared,
        "rmse": np.sqrt(squared),
        "mae": of.mean_absolute_error(came, predicted),
        "r2": of.r2_score(came, predicted) if len(came) > 1 and came.min() < came.max() else np.nan,
        "accuracy": np.mean(sides == np.sign(came)),
        "directional_accuracy": np.mean(sides == np.sign(came)),
        "baseline_accuracy": np.mean(np.sign(came) == majority),
        "baseline_mae": np.mean(np.abs(came)),
    }
    if persisted is not None:
        figures["persistence_accuracy"] = np.mean(np.sign(persisted) == np.sign(came))
    moved = came != 0
    if np.any(came > 0) and np.any(came < 0):
        figures["roc_auc"] = of.roc_auc_score(came[moved] > 0, predicted[moved])
    return _finite(figures)


def persistence(at_ns: Instants, came: npt.NDArray[np.generic], *, horizon_ns: int, first: float) -> Floats:
    """What is named by repeating the newest outcome known at each instant; `first` until there is one."""
    newest = np.searchsorted(at_ns, at_ns - horizon_ns, side="right") - 1
    return np.where(newest >= 0, came[np.maximum(newest, 0)], first).astype(np.float64)


def _expected_calibration_error(probabilities: Floats, correct: npt.NDArray[np.bool_]) -> float:
    bins = reliability(probabilities.max(axis=1), correct)
    return sum(abs(each.observed - each.predicted) * each.rows for each in bins) / len(correct)


def _finite(figures: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if np.isfinite(value)}
