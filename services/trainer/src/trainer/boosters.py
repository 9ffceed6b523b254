"""XGBoost: rows stream into a quantised matrix, and the booster ends at its best round."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxmltools
import xgboost
from onnxmltools.convert import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

from common.artifacts import INPUT_NAME
from trainer.core.recipe import weight_of_class
from trainer.model import PREDICTIONS, Floats, Model, Recipe, Report
from trainer.reading import Matrix, Rows

PARAMETERS: dict[str, Any] = {
    "max_depth": 4,
    "eta": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "min_child_weight": 5,
}
MAX_ROUNDS = 500
PATIENCE_ROUNDS = 30
PROGRESS_EVERY_ROUNDS = 10
OPSET = 15


class Booster:
    """A booster as a model."""

    def __init__(self, booster: xgboost.Booster, recipe: Recipe, parameters: dict[str, Any]) -> None:
        self.libraries = {"xgboost": xgboost.__version__, "onnxmltools": onnxmltools.__version__}
        self.rounds: int = booster.num_boosted_rounds()
        self.parameters = {**parameters, "max_rounds": MAX_ROUNDS, "patience_rounds": PATIENCE_ROUNDS}
        self._booster = booster
        self._classes = recipe.classes

    def predict(self, features: Matrix) -> Floats:
        """See Model."""
        raw = np.asarray(self._booster.inplace_predict(features, missing=np.nan), dtype=np.float64)
        if self._classes == 2:
            return np.stack([1 - raw, raw], axis=1)
        return raw.reshape(len(features), -1)

    def split_points(self) -> list[tuple[int, float]]:
        """See Model."""
        return list(_split_points(self._booster))

    def to_onnx(self, columns: int) -> bytes:
        """See Model."""
        model = convert_xgboost(
            self._booster,
            name="model",  # else a random one: the same fit would give other bytes
            initial_types=[(INPUT_NAME, FloatTensorType([None, columns]))],
            target_opset=OPSET,
        )
        if not self._classes:
            (output,) = model.graph.output
            for node in model.graph.node:
                node.output[:] = [PREDICTIONS if name == output.name else name for name in node.output]
            output.name = PREDICTIONS
        content: bytes = model.SerializeToString()
        return content

    def native(self) -> bytes | None:
        """See Model."""
        return bytes(self._booster.save_raw("ubj"))


def fit(recipe: Recipe, train: Rows, validation: Rows, heard: Report) -> Model:
    """See estimators.train."""
    parameters = {**PARAMETERS, **_objective(recipe.classes)}
    weights = (
        weight_of_class(train.part.classes, recipe.class_weights, count=recipe.classes)
        if recipe.classes
        else None
    )
    matrix = xgboost.QuantileDMatrix(_Batches(train, weights), nthread=recipe.threads)
    booster = xgboost.train(
        {**parameters, "seed": recipe.seed, "nthread": recipe.threads},
        matrix,
        MAX_ROUNDS,
        evals=[
            (
                xgboost.QuantileDMatrix(_Batches(validation, weights), ref=matrix, nthread=recipe.threads),
                "validation",
            )
        ],
        early_stopping_rounds=PATIENCE_ROUNDS,
        verbose_eval=False,
        callbacks=[_Progress(heard)],
    )
    best = booster[: booster.best_iteration + 1]
    best.set_param({"nthread": recipe.threads})
    return Booster(best, recipe, parameters)


def _objective(classes: int) -> dict[str, Any]:
    if not classes:
        return {"objective": "reg:squarederror", "eval_metric": "rmse"}
    if classes == 2:
        return {"objective": "binary:logistic", "eval_metric": "logloss"}
    return {"objective": "multi:softprob", "num_class": classes, "eval_metric": "mlogloss"}


class _Batches(xgboost.DataIter):
    def __init__(self, rows: Rows, weights: Floats | None) -> None:
        self._rows = rows
        self._weights = weights
        self._labels = rows.part.classes if weights is not None else rows.part.target
        self._pending = rows.batches()
        super().__init__()

    def reset(self) -> None:
        self._pending = self._rows.batches()

    def next(self, input_data: Any) -> bool:
        for where, features in self._pending:
            labels = self._labels[where]
            weights = None if self._weights is None else self._weights[labels]
            input_data(data=features, label=labels, weight=weights)
            return True
        return False


class _Progress(xgboost.callback.TrainingCallback):
    def __init__(self, heard: Report) -> None:
        self._heard = heard

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        if epoch % PROGRESS_EVERY_ROUNDS == 0:
            (score_by_round,) = evals_log["validation"].values()
            self._heard(epoch, float(score_by_round[-1]))
        return False


def _split_points(booster: xgboost.Booster) -> Iterator[tuple[int, float]]:
    for tree in booster.get_dump(dump_format="json"):
        pending: list[dict[str, Any]] = [json.loads(tree)]
        while pending:
            node = pending.pop()
            if "split" in node:
                yield int(node["split"].removeprefix("f")), float(node["split_condition"])
                pending += node["children"]
