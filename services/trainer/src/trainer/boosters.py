"""XGBoost: rows stream into a quantised matrix, and the booster ends at its best round.

The matrix lies in memory; in files beside the rows where their features are more than memory is meant for; on
the workers of a Dask cluster where there is one. Rows, parameters, seed and the stop are the same everywhere.
"""

import importlib.metadata
import json
import traceback
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xgboost

from common.artifacts import INPUT_NAME
from trainer import cluster
from trainer.core.recipe import weight_of_class
from trainer.labelled import Labelled
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
        self.libraries = {
            "xgboost": xgboost.__version__,
            "onnxmltools": importlib.metadata.version("onnxmltools"),
        }
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
        # Only once the matrices are gone: it takes memory of its own.
        from onnxmltools.convert import convert_xgboost  # noqa: PLC0415
        from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415

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
    rows, held_out = (Labelled(rows=each, weight_of_class=weights) for each in (train, validation))
    if recipe.scheduler:
        booster = _on_cluster(recipe, parameters, rows, held_out, heard)
    elif recipe.in_memory_bytes is None or train.nbytes + validation.nbytes <= recipe.in_memory_bytes:
        booster = _boosted(recipe, parameters, rows, held_out, heard)
    else:
        with TemporaryDirectory(dir=train.path.parent, prefix="external-") as cache:
            try:
                booster = _boosted(recipe, parameters, rows, held_out, heard, cache=cache)
            except BaseException as error:
                traceback.clear_frames(error.__traceback__)  # their matrices hold the files
                raise
    best = booster[: booster.best_iteration + 1]
    best.set_param({"nthread": recipe.threads})
    return Booster(best, recipe, parameters)


# The matrices end with it: nothing holds the files of `cache` afterwards.
def _boosted(
    recipe: Recipe,
    parameters: dict[str, Any],
    train: Labelled,
    validation: Labelled,
    heard: Report,
    *,
    cache: str | None = None,
) -> xgboost.Booster:
    kind = xgboost.ExtMemQuantileDMatrix if cache else xgboost.QuantileDMatrix
    matrix = kind(_Batches(train, cache and f"{cache}/train"), nthread=recipe.threads)
    held_out = kind(_Batches(validation, cache and f"{cache}/validation"), ref=matrix, nthread=recipe.threads)
    return xgboost.train(
        {**parameters, "seed": recipe.seed, "nthread": recipe.threads},
        matrix,
        MAX_ROUNDS,
        evals=[(held_out, "validation")],
        early_stopping_rounds=PATIENCE_ROUNDS,
        verbose_eval=False,
        callbacks=[_Progress(heard)],
    )


def _on_cluster(
    recipe: Recipe, parameters: dict[str, Any], train: Labelled, validation: Labelled, heard: Report
) -> xgboost.Booster:
    assert recipe.scheduler
    booster: xgboost.Booster
    booster, score_by_round = cluster.train(
        recipe.scheduler,
        {**parameters, "seed": recipe.seed},
        train,
        validation,
        max_rounds=MAX_ROUNDS,
        patience_rounds=PATIENCE_ROUNDS,
    )
    heard(booster.best_iteration, score_by_round[booster.best_iteration])
    return booster


def _objective(classes: int) -> dict[str, Any]:
    if not classes:
        return {"objective": "reg:squarederror", "eval_metric": "rmse"}
    if classes == 2:
        return {"objective": "binary:logistic", "eval_metric": "logloss"}
    return {"objective": "multi:softprob", "num_class": classes, "eval_metric": "mlogloss"}


class _Batches(xgboost.DataIter):
    def __init__(self, rows: Labelled, cache: str | None) -> None:
        self._rows = rows
        self._pending = rows.batches()
        super().__init__(cache_prefix=cache)

    def reset(self) -> None:
        self._pending = self._rows.batches()

    def next(self, input_data: Any) -> bool:
        for features, labels, weights in self._pending:
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
