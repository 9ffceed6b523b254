"""A saved model: its directory, its manifest, and why a reader may trust the bytes.

`{root}/v{n}/` holds model.onnx (what inference serves), model.ubj (the record) and manifest.json, which
names the sha256 of every other file. The sha256 of manifest.json itself stands in the database: the anchor
of trust. A directory is written under a temporary name, synced and renamed: a version that exists is
complete.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

import msgspec

from common.core.calibration import Table
from common.errors import Conflict, Unusable

MANIFEST = "manifest.json"
MODEL = "model.onnx"
INPUT_NAME = "features"
"""The model's one input: float32 (n, features), NaN for what is missing."""
ABANDONED_AFTER_S = 3600.0
"""What no row knows of is somebody's work in progress until then, in seconds."""

_VERSION = re.compile(r"v\d+(\.\d+)?")
_FILE = re.compile(r"[a-z0-9_]+\.[a-z]+")
_TEMPORARY = ".tmp-"


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


def write(root: Path, version: str, manifest: Manifest, files: Mapping[str, bytes]) -> str:
    """The version is on disk, complete; returns the sha256 of its manifest, for the database.

    Raises Unusable for a manifest that would not be read back as it is (a NaN), Conflict where the version
    exists.
    """
    target = _directory(root, version)
    sealed = msgspec.structs.replace(manifest, files={name: _sha256(body) for name, body in files.items()})
    body = msgspec.json.format(msgspec.json.encode(sealed, order="deterministic"), indent=1)
    if sealed != _manifest_of(version, body):
        raise Unusable(f"version {version}: its manifest would not be read back as it is")
    root.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise Conflict(f"version {version} exists on disk already")
    temporary = root / f"{_TEMPORARY}{version}-{uuid4().hex}"
    temporary.mkdir()
    try:
        for name, content in {**files, MANIFEST: body}.items():
            _write_synced(temporary / name, content)
        _sync_directory(temporary)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_directory(root)
    return _sha256(body)


def read_verified(root: Path, version: str, sha256: str) -> Artifact:
    """The version's manifest and model, each byte as it was when `sha256` was stored.

    Raises Unusable naming what is missing, changed, malformed or outside of `root`.
    """
    manifest = _manifest(root, version, sha256)
    if MODEL not in manifest.files:
        raise Unusable(f"version {version}: its manifest names no {MODEL}")
    files = {name: _file(root, manifest, name) for name in manifest.files}
    return Artifact(manifest, files[MODEL])


def read_file(root: Path, version: str, sha256: str, name: str) -> bytes:
    """One file of the version, as it was when `sha256` was stored. Raises Unusable as `read_verified`."""
    manifest = _manifest(root, version, sha256)
    if name not in manifest.files:
        raise Unusable(f"version {version}: its manifest names no {name}")
    return _file(root, manifest, name)


def file_states(root: Path, version: str, sha256: str) -> list[FileState]:
    """The version's manifest and, where that is the one registered, every file that it names, read anew.

    The manifest first; nothing that a changed one names is believed. Raises nothing.
    """
    manifest = _state(root, version, MANIFEST, sha256)
    if manifest.state != "ok":
        return [manifest]
    try:
        named = _manifest(root, version, sha256).files
    except Unusable:
        return [msgspec.structs.replace(manifest, state="changed")]
    return [manifest, *(_state(root, version, name, expected) for name, expected in sorted(named.items()))]


def remove(root: Path, version: str) -> None:
    """The version's files are gone; a reader sees all of them or none."""
    target = _directory(root, version)
    if target.exists():
        doomed = root / f"{_TEMPORARY}{version}-{uuid4().hex}"
        target.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def archive(root: Path, version: str, archive_root: Path) -> None:
    """The version's files lie complete below `archive_root`, and below `root` no more."""
    source, target = _directory(root, version), _directory(archive_root, version)
    if not source.exists():
        return
    if not target.exists():
        archive_root.mkdir(parents=True, exist_ok=True)
        copied = archive_root / f"{_TEMPORARY}{version}-{uuid4().hex}"
        shutil.copytree(source, copied)
        copied.rename(target)
        _sync_directory(archive_root)
    remove(root, version)


def on_disk(root: Path) -> set[str]:
    """Versions that have a directory."""
    return {entry.name for entry in root.iterdir() if is_version(entry.name)} if root.is_dir() else set()


def is_version(name: str) -> bool:
    """Whether `name` is that of a version's directory."""
    return _VERSION.fullmatch(name) is not None


def sweep(root: Path, known: Collection[str], *, older_than_s: float = ABANDONED_AFTER_S) -> list[str]:
    """What a crash left behind is gone: temporaries and versions that no row knows; returns their names."""
    oldest = time.time() - older_than_s
    removed = []
    for entry in root.iterdir() if root.is_dir() else ():
        ours = entry.name.startswith(_TEMPORARY) or is_version(entry.name)
        if ours and entry.name not in known and entry.lstat().st_mtime < oldest:
            shutil.rmtree(entry, ignore_errors=True)
            removed.append(entry.name)
    return sorted(removed)


def _manifest(root: Path, version: str, sha256: str) -> Manifest:
    body = _read(root, _directory(root, version) / MANIFEST)
    if _sha256(body) != sha256:
        raise Unusable(f"version {version}: {MANIFEST} is not the one that was registered")
    manifest = _manifest_of(version, body)
    if manifest.version != version:
        raise Unusable(f"version {version}: its manifest is that of {manifest.version}")
    return manifest


def _file(root: Path, manifest: Manifest, name: str) -> bytes:
    if not _FILE.fullmatch(name):
        raise Unusable(f"version {manifest.version}: {name!r} is no file name")
    content = _read(root, _directory(root, manifest.version) / name)
    if _sha256(content) != manifest.files[name]:
        raise Unusable(f"version {manifest.version}: {name} is not the one that was registered")
    return content


def _state(root: Path, version: str, name: str, sha256: str) -> FileState:
    try:
        content = _read(root, _directory(root, version) / name)
    except Unusable:
        return FileState(name=name, size_bytes=None, sha256=sha256, state="missing")
    state: Literal["ok", "changed"] = "ok" if _sha256(content) == sha256 else "changed"
    return FileState(name=name, size_bytes=len(content), sha256=sha256, state=state)


def _directory(root: Path, version: str) -> Path:
    if not is_version(version):
        raise Unusable(f"{version!r} is no version")
    return root / version


def _manifest_of(version: str, body: bytes) -> Manifest:
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Unusable(f"version {version}: {MANIFEST} is malformed: {error}") from error


def _read(root: Path, path: Path) -> bytes:
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise Unusable(f"{path} leads outside of {root}")
        return path.read_bytes()
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror or error}") from error


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
