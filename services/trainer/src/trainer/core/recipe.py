"""What kind of model is fitted to what kind of label, and which combinations cannot be served."""

from enum import StrEnum

import numpy as np
import numpy.typing as npt


class ModelType(StrEnum):
    """How a model is fitted."""

    XGBOOST = "xgboost"
    RANDOM_FOREST = "random_forest"
    LOGISTIC_REGRESSION = "logistic_regression"
    SGD_CLASSIFIER = "sgd_classifier"


class TargetType(StrEnum):
    """What a label is."""

    CLASSIFICATION = "classification"
    """Down, flat or up; two classes or three, as the labels have it."""
    REGRESSION = "regression"
    """The return over the horizon, as a fraction."""
    RISK_ADJUSTED = "risk_adjusted"
    """The return over the horizon, in units of its volatility."""


class ClassWeights(StrEnum):
    """How much a row counts in the fit."""

    NONE = "none"
    """All the same."""
    BALANCED = "balanced"
    """Every class the same in sum."""
    SQRT_BALANCED = "sqrt_balanced"
    """Half way, by the root of those weights."""


_CLASSIFIERS_ONLY = frozenset({ModelType.LOGISTIC_REGRESSION, ModelType.SGD_CLASSIFIER})


def unservable(model: ModelType, target: TargetType, weights: ClassWeights) -> tuple[str, ...]:
    """Why this combination is refused, a sentence per fault, each naming both variables."""
    if target is TargetType.CLASSIFICATION:
        return ()
    faults = []
    if model in _CLASSIFIERS_ONLY:
        faults.append(f"MODEL_TYPE {model} foresees classes only and MODEL_TARGET_TYPE {target} is a number")
    if weights is not ClassWeights.NONE:
        faults.append(f"MODEL_CLASS_WEIGHTS {weights} weighs classes and MODEL_TARGET_TYPE {target} has none")
    return tuple(faults)


def weight_of_class(
    classes: npt.NDArray[np.int64], method: ClassWeights, *, count: int
) -> npt.NDArray[np.float64]:
    """Weight of a row of each class (count,), 1 on average over `classes` (n,)."""
    if method is ClassWeights.NONE:
        return np.ones(count)
    rates = np.bincount(classes, minlength=count) / len(classes)
    raw = 1 / np.maximum(rates, 1 / len(classes))
    if method is ClassWeights.SQRT_BALANCED:
        raw = np.sqrt(raw)
    weights: npt.NDArray[np.float64] = raw / np.sum(raw * rates)
    return weights
