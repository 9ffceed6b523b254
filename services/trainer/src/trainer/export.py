"""The model's two files, and the proof that they decide alike.

model.ubj is XGBoost's record, model.onnx what inference serves. A model is only handed on when the fitted one
and the served file agree on plain rows, on rows with missing values and on rows that lie exactly on the
borders that decisions hang on: the trees' own split points, or between two rows that decide differently.
"""

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from common.artifacts import INPUT_NAME, Golden
from common.errors import Unusable
from trainer.core.threshold import Leaning
from trainer.job import Parity
from trainer.model import PROBABILITIES, Floats, Model
from trainer.reading import Matrix

ROWS_PER_KIND = 1000
MAX_RELATIVE_DIFFERENCE = 1e-3
"""Of the largest difference to the spread of the model's outputs."""
DECIDED_BY = 1e-6
"""A decision closer than this to another is no decision: rounding may turn it."""
_BISECTIONS = 12


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """The files, proven."""

    ubj: bytes | None
    """XGBoost's own."""
    onnx: bytes
    parity: Parity
    golden: tuple[Golden, ...]


Lean = Callable[[Floats], Leaning]
"""How raw outputs (n, outputs) lean."""


def export(
    model: Model,
    rows: Matrix,
    *,
    output_name: str,
    lean: Lean,
    threshold: float,
    rng: np.random.Generator,
) -> Exported:
    """The files of `model`, proven on `rows` (n, k) and rows made from them.

    Raises Unusable where the files do not agree.
    """
    onnx = model.to_onnx(rows.shape[1])
    kinds = _rows_of_each_kind(model, rows[:ROWS_PER_KIND], lean, rng)
    asked = np.concatenate(list(kinds.values()))
    native = model.predict(asked)
    served = score(onnx, asked, output_name=output_name)
    largest = float(np.abs(native - served).max())
    parity = Parity(
        rows={kind: len(made) for kind, made in kinds.items()},
        largest_difference=largest,
        relative_difference=largest / max(float(native.std()), 1e-12),
        decision_flips=_flips(lean(native), lean(served), threshold),
    )
    if not parity.relative_difference <= MAX_RELATIVE_DIFFERENCE or parity.decision_flips:
        raise Unusable(f"the exported model does not decide as the trained one: {parity}")
    chosen = np.concatenate([made[:3] for made in kinds.values()])
    return Exported(
        ubj=model.native(),
        onnx=onnx,
        parity=parity,
        golden=_golden(chosen, score(onnx, chosen, output_name=output_name)),
    )


def score(onnx: bytes, rows: Matrix, *, output_name: str = PROBABILITIES) -> Floats:
    """Raw outputs (n, outputs) of the model file's bytes, as inference computes them."""
    import onnxruntime  # noqa: PLC0415 - memory that the fit before it has better use for

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    (answer,) = session.run([output_name], {INPUT_NAME: rows})
    return np.asarray(answer, dtype=np.float64)


def _rows_of_each_kind(
    model: Model, plain: Matrix, lean: Lean, rng: np.random.Generator
) -> dict[str, Matrix]:
    missing = plain.copy()
    missing[rng.random(missing.shape) < 0.3] = np.nan
    missing[0] = np.nan
    points = model.split_points()[:ROWS_PER_KIND]
    if not points:
        return {"plain": plain, "missing": missing, "on_threshold": _between(model, plain, lean)}
    on_threshold = plain[rng.integers(0, len(plain), len(points))].copy()
    for row, (feature, value) in enumerate(points):
        on_threshold[row, feature] = value
    return {"plain": plain, "missing": missing, "on_threshold": on_threshold}


# Without split points: rows are drawn together until their sides are about to change.
def _between(model: Model, plain: Matrix, lean: Lean) -> Matrix:
    filled = np.nan_to_num(plain)
    one, other = filled, filled[::-1].copy()
    side = lean(model.predict(one)).side
    for _ in range(_BISECTIONS):
        middle = ((one + other) / 2).astype(np.float32)
        same = (lean(model.predict(middle)).side == side)[:, np.newaxis]
        one, other = np.where(same, middle, one), np.where(same, other, middle)
    return one


def _flips(one: Leaning, other: Leaning, threshold: float) -> int:
    turned = (one.lead > DECIDED_BY) & (one.side != other.side)
    beyond = np.abs(one.confidence - threshold) > DECIDED_BY
    crossed = beyond & ((one.confidence >= threshold) != (other.confidence >= threshold))
    return int(np.sum(turned | crossed))


def _golden(rows: npt.NDArray[np.float32], outputs: Floats) -> tuple[Golden, ...]:
    return tuple(
        Golden(tuple(None if np.isnan(value) else float(value) for value in row), tuple(answer))
        for row, answer in zip(rows, outputs.tolist(), strict=True)
    )
