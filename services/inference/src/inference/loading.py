"""A version made ready to predict: its bytes are the registered ones, and it does what its manifest says.

Whatever does not fit is refused with a sentence that an operator can act on; nothing is guessed.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from common.artifacts import INPUT_NAME, Artifact, Golden, Manifest, read_verified
from common.core.calibration import calibrate
from common.errors import Unusable
from common.model_store import ModelStore
from inference.core.model import Model

GOLDEN_TOLERANCE = 1e-5
"""Largest difference from the outputs that the trainer saw for the manifest's golden rows."""
SUM_TOLERANCE = 1e-3
"""Probabilities of one row sum to 1 but for so much."""
_FLOATS = "tensor(float)"


class LoadedModel:
    """One version, ready to predict; immutable once built."""

    def __init__(self, artifact: Artifact, sha256: str) -> None:
        manifest = artifact.manifest
        self.model = Model(
            version=manifest.version,
            sha256=sha256,
            symbol=manifest.symbol,
            task=manifest.task,
            volatility_feature=manifest.volatility_feature if manifest.target == "risk_adjusted" else None,
            features=manifest.features,
            optional_features=frozenset(manifest.optional_features),
            labels=manifest.labels,
            class_returns=manifest.class_returns,
            threshold=manifest.threshold,
            calibration=manifest.calibration,
            sign_confidence=manifest.sign_confidence,
            feature_registry_version=manifest.feature_registry_version,
            horizon_s=manifest.horizon_s,
            label_threshold=manifest.label_threshold,
        )
        self.medians = manifest.medians
        """Training median of every feature."""
        self._output_name = manifest.output_name
        self._session = _session(artifact.onnx)

    def predict(self, rows: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
        """For each row in the model's order: raw probability of each label, or the prediction."""
        return [tuple(row) for row in self.outputs(rows).tolist()]

    def answer(self, row: Sequence[float]) -> tuple[float, ...]:
        """Calibrated probability of each label for one row in the model's order, or the prediction."""
        return calibrate(self.predict([row])[0], self.model.calibration)

    def outputs(self, rows: Sequence[Sequence[float]]) -> npt.NDArray[np.float32]:
        """What the model file gives for the rows, as it gives it."""
        (answers,) = self._session.run([self._output_name], {INPUT_NAME: np.array(rows, dtype=np.float32)})
        return np.asarray(answers)

    def misfit(self) -> str | None:
        """What the model file's declared input and output have against the manifest."""
        (wanted, *others), outputs = self._session.get_inputs(), self._session.get_outputs()
        if others or wanted.name != INPUT_NAME or wanted.type != _FLOATS:
            return f"it takes {wanted.name!r} as {wanted.type}, not one input {INPUT_NAME!r} of floats"
        features = len(self.model.features)
        width = wanted.shape[-1] if len(wanted.shape) == 2 else 0
        if isinstance(width, int) and width != features:
            return f"it takes rows of shape {wanted.shape}, its manifest names {features} features"
        found = {output.name: output.type for output in outputs}
        if self._output_name not in found:
            return f"it has no output {self._output_name!r}, only {', '.join(found)}"
        if found[self._output_name] != _FLOATS:
            return f"its output {self._output_name!r} is {found[self._output_name]}, not floats"
        return None


def load(store: ModelStore, version: str, sha256: str) -> LoadedModel:
    """The version as the trainer proved it: bytes as registered, golden rows reproduced, warmed up.

    Raises Unusable naming what is wrong.
    """
    artifact = read_verified(store, version, sha256)
    try:
        loaded = LoadedModel(artifact, sha256)
        problem = loaded.misfit() or _unprovable(artifact.manifest) or _untrue(loaded, artifact.manifest)
        # The first predictions are slow, and should not hit a live vector.
        for golden in () if problem else artifact.manifest.golden:
            loaded.answer(_row(golden))
    except Exception as error:
        raise Unusable(f"version {version} cannot be served: {type(error).__name__}: {error}") from error
    if problem:
        raise Unusable(f"version {version} cannot be served: {problem}")
    return loaded


def _unprovable(manifest: Manifest) -> str | None:
    if not manifest.golden:
        return "its manifest has no golden rows to prove it by"
    width = len(manifest.labels) or 1
    for golden in manifest.golden:
        if (len(golden.features), len(golden.outputs)) != (len(manifest.features), width):
            return f"a golden row has not {len(manifest.features)} features and {width} outputs"
    return None


def _untrue(loaded: LoadedModel, manifest: Manifest) -> str | None:
    outputs = loaded.outputs([_row(golden) for golden in manifest.golden])
    rows, width = len(manifest.golden), len(manifest.labels) or 1
    if outputs.shape != (rows, width):
        asked = f"{width} labels" if manifest.labels else "one prediction"
        return f"it answers {rows} rows in the shape {outputs.shape}, its manifest asks for {asked} a row"
    if not np.isfinite(outputs).all():
        return "it answers a golden row with NaN or infinity"
    if manifest.labels and not _are_probabilities(outputs):
        return "its answers are no probabilities, as a classification's would be"
    difference = float(np.max(np.abs(outputs - [golden.outputs for golden in manifest.golden])))
    if not difference <= GOLDEN_TOLERANCE:
        return f"its golden rows differ by {difference:.3g}"
    return None


def _are_probabilities(outputs: npt.NDArray[np.float32]) -> bool:
    in_range = (outputs >= -GOLDEN_TOLERANCE) & (outputs <= 1 + GOLDEN_TOLERANCE)
    return bool(in_range.all() and (np.abs(outputs.sum(axis=1) - 1) <= SUM_TOLERANCE).all())


def _row(golden: Golden) -> list[float]:
    return [np.nan if value is None else value for value in golden.features]


def _session(onnx: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
