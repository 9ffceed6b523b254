"""The model that is served: 60 features of chance, three classes, and rows of which it is sure either way."""

import functools

import msgspec
import numpy as np
import xgboost
from tests.benchmarks.vectors import Rows

from common.artifacts import Golden
from trainer.boosters import Booster
from trainer.core.recipe import ClassWeights, ModelType
from trainer.model import Recipe

FEATURES = (
    "mid_price",
    "spread_rel",
    "depth_bid_top5",
    "volatility_5m",
    *(f"signal_{number:02}" for number in range(56)),
)
THRESHOLD = 0.7
"""Of the model."""
ROUNDS = 100
DEPTH = 6
ROWS_FITTED = 4000
ROWS_KEPT = 251
"""Of each kind at most; a prime, so that every row of a symbol differs from its last."""
_DRIVING = FEATURES.index("signal_00")
_RECIPE = Recipe(
    model=ModelType.XGBOOST,
    classes=3,
    class_weights=ClassWeights.NONE,
    medians=(0.0,) * len(FEATURES),
    seed=7,
    threads=1,
)


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """A model of 300 trees, and what it says."""

    onnx: bytes
    native: bytes
    """The same trees as XGBoost's own JSON."""
    golden: tuple[Golden, ...]
    rows: Rows


@functools.cache
def fitted() -> Fitted:
    """A gradient-boosted classifier of down, flat and up; the same at every call."""
    random = np.random.default_rng(7)
    matrix = _columns(random)
    driving = matrix[:, _DRIVING] + random.normal(0, 0.1, ROWS_FITTED)
    classes = np.digitize(driving, (-1.0, 1.0))
    parameters = {
        "objective": "multi:softprob",
        "num_class": 3,
        "max_depth": DEPTH,
        "eta": 0.1,
        "colsample_bytree": 0.3,
        "nthread": 1,
    }
    booster = xgboost.train(parameters, xgboost.DMatrix(matrix, classes), num_boost_round=ROUNDS)
    answers = booster.inplace_predict(matrix)
    onnx = Booster(booster, _RECIPE, parameters).to_onnx(len(FEATURES))
    is_hold = np.maximum(answers[:, 0], answers[:, 2]) < THRESHOLD - 0.2
    golden = (Golden(tuple(matrix[0].tolist()), tuple(answers[0].tolist())),)
    rows = Rows(hold=_as_json(matrix[is_hold]), buy=_as_json(matrix[answers[:, 2] > THRESHOLD + 0.1]))
    native = bytes(booster.save_raw("json"))
    return Fitted(onnx=onnx, native=native, golden=golden, rows=rows)


def _columns(random: np.random.Generator) -> np.ndarray:
    matrix = random.normal(size=(ROWS_FITTED, len(FEATURES)))
    for name, low, high in (
        ("mid_price", 90.0, 110.0),
        ("spread_rel", 1e-5, 2e-5),
        ("depth_bid_top5", 5.0, 50.0),
        ("volatility_5m", 1e-4, 1e-3),
    ):
        matrix[:, FEATURES.index(name)] = random.uniform(low, high, ROWS_FITTED)
    return matrix.astype(np.float32)


def _as_json(matrix: np.ndarray) -> list[str]:
    named = (dict(zip(FEATURES, row, strict=True)) for row in matrix[:ROWS_KEPT].tolist())
    return [msgspec.json.encode(each).decode() for each in named]
