"""What a prediction was worth, once its horizon has passed.

A prediction is scored with the first price of its symbol at or after the end of its horizon, if that came in
time; else it stays unscored, and the coverage says so. Sums add up over predictions, replicas and flushes;
the figures come from the sums alone.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from inference.core.model import Model

LEAST_TOLERANCE_S = 2.0
TOLERANCE_SHARE = 0.1
"""Of the horizon: how late after its end a price may come, at least LEAST_TOLERANCE_S."""
LEAST_PROBABILITY = 1e-15
"""An outcome that was thought impossible costs as much log loss as one thought so likely."""
CONFUSION = "confusion:"

Task = Literal["classification", "regression"]
Sums = dict[str, float]
"""`predictions`, `scored`, `log_loss`, `brier`, `squared_error` and `confusion:<actual>:<predicted>`."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a model said of a symbol at an instant, and the price it said it at."""

    at: datetime
    price: float
    answer: tuple[float, ...]
    """Calibrated probability of each label, or the prediction."""
    volatility: float | None = None
    """What a risk-adjusted prediction is a multiple of."""


def tolerance(horizon_s: float) -> timedelta:
    """How late after the end of the horizon a price still scores a prediction."""
    return timedelta(seconds=max(LEAST_TOLERANCE_S, TOLERANCE_SHARE * horizon_s))


def unscored() -> Sums:
    """The sums of a prediction whose outcome nobody saw."""
    return {"predictions": 1.0}


def scored(prediction: Prediction, model: Model, price: float) -> Sums:
    """The sums of a prediction whose outcome is `price`."""
    moved = (price - prediction.price) / prediction.price
    if model.task == "regression":
        return _of_regression(prediction, moved)
    actual = _sign(moved, model.label_threshold)
    by_label = dict(zip(model.labels, prediction.answer, strict=True))
    predicted = max(model.labels, key=by_label.__getitem__)
    misses = [p - (label == actual) for label, p in by_label.items()] + [-1.0] * (actual not in by_label)
    return {
        "predictions": 1.0,
        "scored": 1.0,
        "log_loss": -math.log(max(by_label.get(actual, 0.0), LEAST_PROBABILITY)),
        "brier": math.fsum(miss * miss for miss in misses) / 2,
        f"{CONFUSION}{actual}:{predicted}": 1.0,
    }


def added(sums: Mapping[str, float], more: Mapping[str, float]) -> Sums:
    """Both together."""
    return {name: sums.get(name, 0.0) + more.get(name, 0.0) for name in {**sums, **more}}


def figures(sums: Mapping[str, float], task: Task) -> dict[str, float]:
    """The figures that the sums give, by the names of the quality table; without scored rows coverage alone.

    Classification: accuracy, log_loss (nats), brier (0 to 1). Regression: mse, rmse (in units of the target),
    directional_accuracy. Both: coverage, the share of the predictions that were scored.
    """
    count = sums.get("scored", 0.0)
    coverage = {"coverage": count / sums["predictions"]}
    if not count:
        return coverage
    right = math.fsum(value for actual, predicted, value in _pairs(sums) if actual == predicted) / count
    if task == "regression":
        error = sums["squared_error"] / count
        return {**coverage, "mse": error, "rmse": math.sqrt(error), "directional_accuracy": right}
    return {
        **coverage,
        "accuracy": right,
        "log_loss": sums["log_loss"] / count,
        "brier": sums["brier"] / count,
    }


def confusion(sums: Mapping[str, float]) -> dict[str, int]:
    """How often which label came (first) where which was predicted (second): `{"1:-1": 3}`."""
    return {f"{actual}:{predicted}": round(value) for actual, predicted, value in _pairs(sums)}


def _of_regression(prediction: Prediction, moved: float) -> Sums:
    said = prediction.answer[0]
    actual = moved if prediction.volatility is None else moved / prediction.volatility
    return {
        "predictions": 1.0,
        "scored": 1.0,
        "squared_error": (said - actual) ** 2,
        f"{CONFUSION}{_sign(actual, 0.0)}:{_sign(said, 0.0)}": 1.0,
    }


def _sign(value: float, threshold: float) -> int:
    return 1 if value > threshold else -1 if value < -threshold else 0


def _pairs(sums: Mapping[str, float]) -> Iterator[tuple[str, str, float]]:
    for name, value in sorted(sums.items()):
        if name.startswith(CONFUSION):
            actual, predicted = name.removeprefix(CONFUSION).split(":")
            yield actual, predicted, value
