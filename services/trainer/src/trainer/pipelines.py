"""scikit-learn models: pipelines whose imputer stands before everything, as inference sends NaN.

A forest trained on NaN itself converts wrongly; the imputer is without its indicator, which onnxruntime
cannot run. Nothing of scikit-learn's own is ever written to disk: reading it back could run code.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import skl2onnx
import sklearn
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from common.artifacts import INPUT_NAME
from trainer.core.recipe import ModelType, weight_of_class
from trainer.model import PREDICTIONS, Floats, Model, Recipe, Report
from trainer.reading import BATCH_ROWS, Matrix, Rows

OPSET = 15
FOREST: dict[str, Any] = {"max_depth": 10, "min_samples_leaf": 20, "max_features": "sqrt", "max_samples": 0.5}
TREES_PER_STEP, MAX_TREES, PATIENCE_STEPS = 25, 300, 2
LEAST_GAIN = 0.0005
"""Of the score: a step of trees that brings less brought nothing."""
LOGISTIC: dict[str, Any] = {"C": 0.1, "max_iter": 300}
SGD: dict[str, Any] = {"loss": "log_loss", "alpha": 1e-4, "average": True}
MAX_EPOCHS, PATIENCE_EPOCHS = 30, 3
_SMALLEST = 1e-15

Weights = npt.NDArray[np.float64] | None
Labels = npt.NDArray[np.int64] | npt.NDArray[np.float64]


class Fitted:
    """A pipeline as a model."""

    def __init__(
        self, pipeline: Pipeline, recipe: Recipe, *, rounds: int, parameters: dict[str, Any]
    ) -> None:
        self.libraries = {"scikit-learn": sklearn.__version__, "skl2onnx": skl2onnx.__version__}
        self.rounds = rounds
        self.parameters = parameters
        self._pipeline = pipeline
        self._classes = recipe.classes

    def predict(self, features: Matrix) -> Floats:
        """See Model."""
        return _raw(self._pipeline, features, self._classes)

    def split_points(self) -> list[tuple[int, float]]:
        """See Model."""
        trees = getattr(self._pipeline[-1], "estimators_", ())
        return [
            (int(column), float(value))
            for tree in trees
            for column, value in zip(tree.tree_.feature, tree.tree_.threshold, strict=True)
            if column >= 0
        ]

    def to_onnx(self, columns: int) -> bytes:
        """See Model."""
        model = to_onnx(
            self._pipeline,
            name="model",
            initial_types=[(INPUT_NAME, FloatTensorType([None, columns]))],
            options={id(self._pipeline): {"zipmap": False}} if self._classes else None,
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
        return None


def fit(recipe: Recipe, train: Rows, validation: Rows, heard: Report) -> Model:
    """See estimators.train; holds the features of train and validation in memory."""
    by_class = (
        weight_of_class(train.part.classes, recipe.class_weights, count=recipe.classes)
        if recipe.classes
        else None
    )
    rounds = _Rounds(recipe, validation, by_class, heard)
    weights = None if by_class is None else by_class[train.part.classes]
    labels = train.part.classes if recipe.classes else train.part.target
    if recipe.model is ModelType.RANDOM_FOREST:
        return _forest(recipe, train, labels, weights, rounds)
    if recipe.model is ModelType.LOGISTIC_REGRESSION:
        return _logistic(recipe, train, labels, weights, rounds)
    return _sgd(recipe, train, labels, weights, rounds)


def imputer_of(recipe: Recipe) -> SimpleImputer:
    """What puts the median of train for a missing value."""
    # The medians of all rows are known: the median of the one row that holds them is each of them.
    return SimpleImputer(strategy="median").fit(np.array([recipe.medians], np.float32))


def through(features: Matrix, step: Any) -> Matrix:
    """`features` after `step`, in place: a second copy of train would be the peak."""
    for batch in _slices(features):
        features[batch] = step.transform(features[batch])
    return features


class _Rounds:
    """Scores on validation, round by round."""

    def __init__(self, recipe: Recipe, validation: Rows, by_class: Weights, heard: Report) -> None:
        self._classes = recipe.classes
        self._features = validation.matrix()
        self._labels = validation.part.classes if recipe.classes else validation.part.target
        self._weights = None if by_class is None else by_class[validation.part.classes]
        self._heard = heard
        self.best, self.best_round, self._since = np.inf, 0, 0

    def better(self, round_: int, pipeline: Pipeline, *, least_gain: float = 0.0) -> bool:
        score = self._score(_raw(pipeline, self._features, self._classes))
        self._heard(round_, score)
        self._since += 1
        if not score < self.best * (1 - least_gain):
            return False
        self.best, self.best_round, self._since = score, round_, 0
        return True

    def without_gain(self) -> int:
        return self._since

    def _score(self, raw: Floats) -> float:
        if not self._classes:
            return float(root_mean_squared_error(self._labels, raw[:, 0]))
        chosen = raw[np.arange(len(raw)), self._labels]
        return float(-np.average(np.log(np.maximum(chosen, _SMALLEST)), weights=self._weights))


def _forest(recipe: Recipe, train: Rows, labels: Labels, weights: Weights, rounds: _Rounds) -> Model:
    kind = RandomForestClassifier if recipe.classes else RandomForestRegressor
    forest = kind(n_estimators=0, warm_start=True, random_state=recipe.seed, n_jobs=recipe.threads, **FOREST)
    imputer = imputer_of(recipe)
    filled = through(train.matrix(), imputer)
    pipeline = Pipeline([("imputer", imputer), ("forest", forest)])
    # more trees are never worse but for noise: none is taken back
    while forest.n_estimators < MAX_TREES and rounds.without_gain() < PATIENCE_STEPS:
        forest.n_estimators += TREES_PER_STEP
        forest.fit(filled, labels, sample_weight=weights)
        rounds.better(forest.n_estimators, pipeline, least_gain=LEAST_GAIN)
    parameters = {**FOREST, "max_trees": MAX_TREES, "patience_trees": PATIENCE_STEPS * TREES_PER_STEP}
    return Fitted(pipeline, recipe, rounds=forest.n_estimators, parameters=parameters)


def _logistic(recipe: Recipe, train: Rows, labels: Labels, weights: Weights, rounds: _Rounds) -> Model:
    model = LogisticRegression(random_state=recipe.seed, **LOGISTIC)
    pipeline, scaled = _scaled(recipe, train, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the rounds say it: they reach max_iter
        model.fit(scaled, labels, sample_weight=weights)
    done = int(np.max(model.n_iter_))
    rounds.better(done, pipeline)
    return Fitted(pipeline, recipe, rounds=done, parameters=LOGISTIC)


def _sgd(recipe: Recipe, train: Rows, labels: Labels, weights: Weights, rounds: _Rounds) -> Model:
    model = SGDClassifier(random_state=recipe.seed, **SGD)
    pipeline, scaled = _scaled(recipe, train, model)
    best = (np.empty(0), np.empty(0))
    for epoch in range(1, MAX_EPOCHS + 1):
        model.partial_fit(scaled, labels, classes=np.arange(recipe.classes), sample_weight=weights)
        if rounds.better(epoch, pipeline):
            best = (model.coef_.copy(), model.intercept_.copy())
        elif rounds.without_gain() >= PATIENCE_EPOCHS:
            break
    model.coef_, model.intercept_ = best
    parameters = {**SGD, "max_epochs": MAX_EPOCHS, "patience_epochs": PATIENCE_EPOCHS}
    return Fitted(pipeline, recipe, rounds=rounds.best_round, parameters=parameters)


def _scaled(recipe: Recipe, train: Rows, model: Any) -> tuple[Pipeline, Matrix]:
    imputer, scaler = imputer_of(recipe), StandardScaler()
    features = through(train.matrix(), imputer)
    for batch in _slices(features):
        scaler.partial_fit(features[batch])
    pipeline = Pipeline([("imputer", imputer), ("scaler", scaler), ("model", model)])
    return pipeline, through(features, scaler)


def _slices(features: Matrix) -> Iterator[slice]:
    for start in range(0, len(features), BATCH_ROWS):
        yield slice(start, start + BATCH_ROWS)


def _raw(pipeline: Pipeline, features: Matrix, classes: int) -> Floats:
    found = pipeline.predict_proba(features) if classes else pipeline.predict(features).reshape(-1, 1)
    return np.asarray(found, dtype=np.float64)
