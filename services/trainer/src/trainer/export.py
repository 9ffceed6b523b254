"""The model's two files, and the proof that they decide alike.

model.ubj is the record, model.onnx what inference serves. A model is only handed on when both agree on plain
rows, on rows with missing values and on rows that lie exactly on the trees' own split points.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime
import xgboost
from onnxmltools.convert import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

from common.artifacts import INPUT_NAME, Golden
from common.core.calibration import Table
from common.errors import Unusable
from trainer.core.fitted_calibration import calibrated
from trainer.job import Parity

OUTPUT_NAME = "probabilities"
OPSET = 15
ROWS_PER_KIND = 1000
MAX_RELATIVE_DIFFERENCE = 1e-3
"""Of the largest difference to the spread of the model's outputs."""
DECIDED_BY = 1e-6
"""A decision closer than this to another is no decision: rounding may turn it."""

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """Both files, proven."""

    ubj: bytes
    onnx: bytes
    parity: Parity
    golden: tuple[Golden, ...]


def export(
    booster: xgboost.Booster,
    rows: Matrix,
    *,
    tables: tuple[Table, ...],
    threshold: float,
    rng: np.random.Generator,
) -> Exported:
    """The files of `booster`, proven on `rows` (n, k) and rows made from them.

    `booster` ends at its best round already: the converter takes all rounds there are. Raises Unusable where
    the files do not agree.
    """
    model = convert_xgboost(
        booster,
        name="model",  # else a random one: the same fit would give other bytes
        initial_types=[(INPUT_NAME, FloatTensorType([None, rows.shape[1]]))],
        target_opset=OPSET,
    )
    onnx = model.SerializeToString()
    kinds = _rows_of_each_kind(booster, rows[:ROWS_PER_KIND], rng)
    asked = np.concatenate(list(kinds.values()))
    native = np.asarray(booster.inplace_predict(asked, missing=np.nan), dtype=np.float64)
    served = score(onnx, asked)
    largest = float(np.abs(native - served).max())
    parity = Parity(
        rows={kind: len(made) for kind, made in kinds.items()},
        largest_difference=largest,
        relative_difference=largest / max(float(native.std()), 1e-12),
        decision_flips=_flips(native, served, tables, threshold),
    )
    if not parity.relative_difference <= MAX_RELATIVE_DIFFERENCE or parity.decision_flips:
        raise Unusable(f"the exported model does not decide as the trained one: {parity}")
    chosen = np.concatenate([made[:3] for made in kinds.values()])
    return Exported(
        ubj=bytes(booster.save_raw("ubj")),
        onnx=onnx,
        parity=parity,
        golden=_golden(chosen, score(onnx, chosen)),
    )


def score(onnx: bytes, rows: Matrix, *, output_name: str = OUTPUT_NAME) -> Floats:
    """Raw probabilities (n, classes) of the model file's bytes, as inference computes them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    (answer,) = session.run([output_name], {INPUT_NAME: rows})
    return np.asarray(answer, dtype=np.float64)


def _rows_of_each_kind(
    booster: xgboost.Booster, plain: Matrix, rng: np.random.Generator
) -> dict[str, Matrix]:
    missing = plain.copy()
    missing[rng.random(missing.shape) < 0.3] = np.nan
    missing[0] = np.nan
    points = list(_split_points(booster))[:ROWS_PER_KIND]
    on_threshold = plain[rng.integers(0, len(plain), len(points))].copy()
    for row, (feature, value) in enumerate(points):
        on_threshold[row, feature] = value
    return {"plain": plain, "missing": missing, "on_threshold": on_threshold}


def _split_points(booster: xgboost.Booster) -> Iterator[tuple[int, float]]:
    for tree in booster.get_dump(dump_format="json"):
        pending: list[dict[str, Any]] = [json.loads(tree)]
        while pending:
            node = pending.pop()
            if "split" in node:
                yield int(node["split"].removeprefix("f")), float(node["split_condition"])
                pending += node["children"]


def _flips(native: Floats, served: Floats, tables: tuple[Table, ...], threshold: float) -> int:
    one, other = calibrated(native, tables), calibrated(served, tables)
    ordered = np.sort(one, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > DECIDED_BY
    beyond = np.abs(ordered[:, -1] - threshold) > DECIDED_BY
    turned = clear & (one.argmax(axis=1) != other.argmax(axis=1))
    crossed = beyond & ((one.max(axis=1) >= threshold) != (other.max(axis=1) >= threshold))
    return int(np.sum(turned | crossed))


def _golden(rows: Matrix, probabilities: Floats) -> tuple[Golden, ...]:
    return tuple(
        Golden(tuple(None if np.isnan(value) else float(value) for value in row), tuple(answer))
        for row, answer in zip(rows, probabilities.tolist(), strict=True)
    )
