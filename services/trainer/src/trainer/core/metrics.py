"""How good are predicted probabilities on the rows of one split?

`probabilities` (n, classes) are calibrated, `classes` (n,) the indices of the true labels.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

_SMALLEST = 1e-15
_ECE_BINS = 10


def classification(probabilities: Floats, classes: Classes, *, majority: int) -> dict[str, float]:
    """The figures by the names of the quality table; one that has no value on these rows is left out.

    Precision, recall, F1 and ROC AUC are means over the classes present; `baseline_accuracy` is that of
    always naming the class `majority`.
    """
    predicted = probabilities.argmax(axis=1)
    present = np.unique(classes)
    by_class = [_precision_recall_f1(predicted, classes, each) for each in present]
    named = np.eye(probabilities.shape[1])[classes]
    chosen = probabilities[np.arange(len(classes)), classes]
    figures = {
        "accuracy": _mean(predicted == classes),
        "baseline_accuracy": _mean(classes == majority),
        "balanced_accuracy": _mean([recall for _, recall, _ in by_class]),
        "precision": _mean([precision for precision, _, _ in by_class]),
        "recall": _mean([recall for _, recall, _ in by_class]),
        "f1": _mean([f1 for _, _, f1 in by_class]),
        "log_loss": float(-np.mean(np.log(np.maximum(chosen, _SMALLEST)))),
        "brier": float(np.mean(np.sum((probabilities - named) ** 2, axis=1)) / 2),
        "ece": _expected_calibration_error(probabilities, predicted == classes),
        "mcc": _matthews(predicted, classes),
        "roc_auc": _mean([_roc_auc(probabilities[:, each], classes == each) for each in present])
        if len(present) > 1
        else np.nan,
    }
    return {name: float(value) for name, value in figures.items() if np.isfinite(value)}


def _precision_recall_f1(predicted: Classes, classes: Classes, each: int) -> tuple[float, float, float]:
    hits = float(np.sum((predicted == each) & (classes == each)))
    named, true = float(np.sum(predicted == each)), float(np.sum(classes == each))
    return hits / named if named else 0.0, hits / true, 2 * hits / (named + true)


def _expected_calibration_error(probabilities: Floats, correct: npt.NDArray[np.bool_]) -> float:
    confidence = probabilities.max(axis=1)
    bins = np.minimum((confidence * _ECE_BINS).astype(np.int64), _ECE_BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=_ECE_BINS)
    return float(np.sum(np.abs(gaps)) / len(correct))


# Gorodkin 2004: the correlation of the two assignments; 0 where one of them is constant.
def _matthews(predicted: Classes, classes: Classes) -> float:
    count = max(int(predicted.max()), int(classes.max())) + 1
    named = np.bincount(predicted, minlength=count).astype(float)
    true = np.bincount(classes, minlength=count).astype(float)
    rows = float(len(classes))
    spread = (rows**2 - named @ named) * (rows**2 - true @ true)
    if spread == 0:
        return 0.0
    return float((rows * np.sum(predicted == classes) - named @ true) / np.sqrt(spread))


# Mann-Whitney with mean ranks, so that ties count half.
def _roc_auc(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above, below = float(np.sum(positive)), float(np.sum(~positive))
    return float((np.sum(ranks[positive]) - above * (above + 1) / 2) / (above * below))


def _mean(values: npt.NDArray[np.bool_] | list[float]) -> float:
    return float(np.mean(values))
