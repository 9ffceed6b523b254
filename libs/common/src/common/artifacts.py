"""A saved model: its files, its manifest, and why a reader may trust the bytes.

A version is model.onnx (what inference serves), model.ubj (the record) and manifest.json, which names the
sha256 of every other file. The sha256 of manifest.json itself stands in the database: the anchor of trust.
Where the files are kept is a `ModelStore`'s business.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from common.core.calibration import Table
from common.errors import Unusable
from common.model_store import MANIFEST, ModelStore

MODEL = "model.onnx"
INPUT_NAME = "features"
"""The model's one input: float32 (n, features), NaN for what is missing."""


class Golden(msgspec.Struct, frozen=True):
    """A row and the raw, uncalibrated outputs that the model must give for it; None is missing."""

    features: tuple[float | None, ...]
    outputs: tuple[float, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All that a reader of the model must know, and nothing it may guess."""

    version: str
    strategy_id: str
    symbol: str
    model_type: str
    task: Literal["classification", "regression"]
    target: Literal["classification", "regression", "risk_adjusted"]
    """What the labels are: a class, the return over the horizon, or that return over its volatility."""
    volatility_feature: str | None = None
    """For a risk-adjusted target: the feature that turns an output back into a return."""
    features: tuple[str, ...]
    """In the order of the model's input."""
    optional_features: tuple[str, ...]
    """Missing in 1 to 50 % of the training rows: a live vector may lack them."""
    medians: dict[str, float]
    """Training median of every feature."""
    labels: tuple[int, ...]
    """Label of each class index: -1 down, 0 flat, 1 up; empty for a regression."""
    class_returns: tuple[float, ...] = ()
    """Mean return over the horizon of each class in train, as a fraction; empty where it is not known."""
    output_name: str
    """The model's output: float32 (n, labels) probabilities, or (n, 1) predictions."""
    horizon_s: float
    """How far ahead the label looks, in seconds."""
    label_threshold: float = 0.0
    """A return beyond it, as a fraction, was labelled up or down; 0 for a regression."""
    threshold: float
    """Smallest calibrated probability to act on."""
    calibration: tuple[Table, ...]
    """One table per class for `core.calibration.calibrate`."""
    sign_confidence: Table = ()
    """For a regression: size of the prediction -> probability that its sign is right, from validation."""
    class_rates: tuple[float, ...]
    """Share of each class in train."""
    baselines: dict[str, float]
    dataset_id: str
    dataset_sha256: dict[str, str]
    """Of each downloaded split."""
    feature_registry_version: str
    libraries: dict[str, str]
    golden: tuple[Golden, ...]
    trained_at: datetime
    files: dict[str, str] = {}
    """sha256 of every other file; `write` fills it in."""

    def __post_init__(self) -> None:
        is_regression = self.task == "regression"
        labels, classes = set(self.labels), len(self.labels)
        for holds, message in (
            (0 < len(set(self.features)) == len(self.features), "features: at least one, each once"),
            (len(labels) == classes, "labels: each once"),
            (labels <= {-1, 0, 1}, "labels: -1 down, 0 flat, 1 up"),
            (classes == 0 if is_regression else classes >= 2, "labels: at least two, none for a regression"),
            (
                is_regression == (self.target != "classification"),
                "target: classification for a classification, and for it alone",
            ),
            (self.sign_confidence or not is_regression, "sign_confidence: a regression needs it"),
            (len(self.class_returns) in (0, classes), "class_returns: one per label"),
            (
                self.volatility_feature or self.target != "risk_adjusted",
                "volatility_feature: a risk-adjusted target needs it",
            ),
            (len(self.calibration) in (0, classes), "calibration: one table per label"),
            (0 <= self.threshold <= 1, "threshold: a probability"),
            (self.horizon_s > 0, "horizon_s: a time ahead"),
            (self.label_threshold >= 0, "label_threshold: no negative move"),
        ):
            if not holds:
                raise ValueError(message)


class Artifact(msgspec.Struct, frozen=True):
    """What was read and proven to be what was written."""

    manifest: Manifest
    onnx: bytes


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a version, held against what was registered."""

    name: str
    """Below the directory of the version."""
    size_bytes: int | None
    """Null: it is missing."""
    sha256: str | None
    """As registered."""
    state: Literal["ok", "missing", "changed"]
    """`changed`: its bytes are not those that were registered."""


_decoder = msgspec.json.Decoder(Manifest)


def write(store: ModelStore, version: str, manifest: Manifest, files: Mapping[str, bytes]) -> str:
    """The version is stored, complete; returns the sha256 of its manifest, for the database.

    Raises Unusable for a manifest that would not be read back as it is (a NaN), Conflict where the version
    exists, TryAgain where a bucket does not answer.
    """
    sealed = msgspec.structs.replace(manifest, files={name: _sha256(body) for name, body in files.items()})
    body = msgspec.json.format(msgspec.json.encode(sealed, order="deterministic"), indent=1)
    if sealed != _manifest_of(version, body):
        raise Unusable(f"version {version}: its manifest would not be read back as it is")
    store.create(version, {**files, MANIFEST: body})
    return _sha256(body)


def read_verified(store: ModelStore, version: str, sha256: str) -> Artifact:
    """The version's manifest and model, each byte as it was when `sha256` was stored.

    Raises Unusable naming what is missing, changed, malformed or outside of the store, TryAgain where a
    bucket does not answer.
    """
    manifest = _manifest(store, version, sha256)
    if MODEL not in manifest.files:
        raise Unusable(f"version {version}: its manifest names no {MODEL}")
    files = {name: _file(store, manifest, name) for name in manifest.files}
    return Artifact(manifest, files[MODEL])


def read_file(store: ModelStore, version: str, sha256: str, name: str) -> bytes:
    """One file of the version, as it was when `sha256` was stored. Raises Unusable as `read_verified`."""
    manifest = _manifest(store, version, sha256)
    if name not in manifest.files:
        raise Unusable(f"version {version}: its manifest names no {name}")
    return _file(store, manifest, name)


def file_states(store: ModelStore, version: str, sha256: str) -> list[FileState]:
    """The version's manifest and, where that is the one registered, every file that it names, read anew.

    The manifest first; nothing that a changed one names is believed. Raises TryAgain where a bucket does not
    answer.
    """
    manifest = _state(store, version, MANIFEST, sha256)
    if manifest.state != "ok":
        return [manifest]
    try:
        named = _manifest(store, version, sha256).files
    except Unusable:
        return [msgspec.structs.replace(manifest, state="changed")]
    return [manifest, *(_state(store, version, name, expected) for name, expected in sorted(named.items()))]


def archive(store: ModelStore, version: str, archived: ModelStore) -> None:
    """The version's files lie complete in `archived`, and in `store` no more."""
    names = store.names(version)
    if MANIFEST in names and MANIFEST not in archived.names(version):
        archived.create(version, {name: store.read(version, name) for name in names})
    store.remove(version)


def _manifest(store: ModelStore, version: str, sha256: str) -> Manifest:
    body = store.read(version, MANIFEST)
    if _sha256(body) != sha256:
        raise Unusable(f"version {version}: {MANIFEST} is not the one that was registered")
    manifest = _manifest_of(version, body)
    if manifest.version != version:
        raise Unusable(f"version {version}: its manifest is that of {manifest.version}")
    return manifest


def _file(store: ModelStore, manifest: Manifest, name: str) -> bytes:
    content = store.read(manifest.version, name)
    if _sha256(content) != manifest.files[name]:
        raise Unusable(f"version {manifest.version}: {name} is not the one that was registered")
    return content


def _state(store: ModelStore, version: str, name: str, sha256: str) -> FileState:
    try:
        content = store.read(version, name)
    except Unusable:
        return FileState(name=name, size_bytes=None, sha256=sha256, state="missing")
    state: Literal["ok", "changed"] = "ok" if _sha256(content) == sha256 else "changed"
    return FileState(name=name, size_bytes=len(content), sha256=sha256, state=state)


def _manifest_of(version: str, body: bytes) -> Manifest:
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Unusable(f"version {version}: {MANIFEST} is malformed: {error}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
