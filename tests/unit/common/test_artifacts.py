"""A saved model is read back exactly, or not at all."""

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from common import artifacts
from common.artifacts import Golden, Manifest
from common.errors import Conflict, Unusable
from common.model_directory import ModelDirectory

FILES = {"model.onnx": b"onnx bytes", "model.ubj": b"native bytes"}


def manifest(**changes):
    values = {
        "version": "v3",
        "strategy_id": "momentum",
        "symbol": "BTCUSDT",
        "model_type": "xgboost",
        "task": "classification",
        "target": "classification",
        "features": ("returns_1", "volume_1"),
        "optional_features": ("volume_1",),
        "medians": {"returns_1": 0.1},
        "labels": (-1, 0, 1),
        "output_name": "probabilities",
        "horizon_s": 2.0,
        "threshold": 0.4,
        "calibration": (((0.1, 0.2), (0.9, 0.8)),) * 3,
        "class_rates": (0.3, 0.4, 0.3),
        "baselines": {"test": 0.4},
        "dataset_id": "9396a9a8-6dfe-42d1-9681-fe269f6a09eb",
        "dataset_sha256": {"train": "ab" * 32},
        "feature_registry_version": "1.0.0",
        "libraries": {"xgboost": "3.2.0"},
        "golden": (Golden((0.1, None), (0.2, 0.3, 0.5)),),
        "trained_at": datetime(2026, 3, 1, tzinfo=UTC),
    }
    return Manifest(**{**values, **changes})


@pytest.fixture
def root(tmp_path):
    return tmp_path / "models"


def test_what_was_written_is_read_back(root):
    sha256 = artifacts.write(ModelDirectory(root), "v3", manifest(), FILES)

    read = artifacts.read_verified(ModelDirectory(root), "v3", sha256)

    assert read.onnx == FILES["model.onnx"]
    assert msgspec.structs.replace(read.manifest, files={}) == manifest()
    assert set(read.manifest.files) == set(FILES)
    assert [entry.name for entry in root.iterdir()] == ["v3"], "nothing temporary stays"


@pytest.mark.parametrize("name", ["model.onnx", "model.ubj", "manifest.json"])
def test_one_flipped_byte_in_any_file_is_refused(root, name):
    sha256 = artifacts.write(ModelDirectory(root), "v3", manifest(), FILES)
    path = root / "v3" / name
    whole = path.read_bytes()

    for position in {0, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(Unusable, match=f"{name} is not the one that was registered"):
            artifacts.read_verified(ModelDirectory(root), "v3", sha256)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_missing_file_is_named(root, name):
    sha256 = artifacts.write(ModelDirectory(root), "v3", manifest(), FILES)
    (root / "v3" / name).unlink()

    with pytest.raises(Unusable, match=f"{name} cannot be read: No such file"):
        artifacts.read_verified(ModelDirectory(root), "v3", sha256)


@pytest.mark.parametrize("version", ["../v3", "v3/..", "v3\x00", "", "latest", "/v3"])
def test_a_name_that_is_no_version_is_never_a_path(root, version):
    with pytest.raises(Unusable, match="is no version"):
        artifacts.read_verified(ModelDirectory(root), version, "ab" * 32)


@pytest.mark.parametrize("linked", ["v3", "v3/model.onnx"])
def test_a_link_that_leads_outside_is_refused(root, tmp_path, linked):
    sha256 = artifacts.write(ModelDirectory(root), "v3", manifest(), FILES)
    outside = tmp_path / "outside"
    (root / linked).rename(outside)
    (root / linked).symlink_to(outside)

    with pytest.raises(Unusable, match="leads outside"):
        artifacts.read_verified(ModelDirectory(root), "v3", sha256)


def test_a_version_under_another_ones_name_is_refused(root):
    sha256 = artifacts.write(ModelDirectory(root), "v3", manifest(), FILES)
    (root / "v3").rename(root / "v4")

    with pytest.raises(Unusable, match="its manifest is that of v3"):
        artifacts.read_verified(ModelDirectory(root), "v4", sha256)


def test_a_model_without_the_served_file_is_refused(root):
    sha256 = artifacts.write(ModelDirectory(root), "v3", manifest(), {"model.ubj": b"native bytes"})

    with pytest.raises(Unusable, match=r"names no model\.onnx"):
        artifacts.read_verified(ModelDirectory(root), "v3", sha256)


def test_a_version_is_written_once(root):
    artifacts.write(ModelDirectory(root), "v3", manifest(), FILES)

    with pytest.raises(Conflict, match="v3 exists on disk already"):
        artifacts.write(ModelDirectory(root), "v3", manifest(), FILES)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": float("nan")},
        {"class_rates": (0.3, float("nan"), 0.3)},
        {"features": ()},
        {"features": ("a", "a")},
        {"labels": (1, 1, 0)},
        {"calibration": (((0.1, 0.2),),)},
    ],
)
def test_a_manifest_that_would_mislead_is_never_written(root, changes):
    with pytest.raises((Unusable, ValueError)):
        artifacts.write(ModelDirectory(root), "v3", manifest(**changes), FILES)
    assert not root.exists()


def test_only_what_a_crash_left_behind_is_swept(root):
    for version in ("v1", "v2", "v3"):
        artifacts.write(ModelDirectory(root), version, manifest(version=version), FILES)
    for name in (".tmp-v4-abc", "notes"):
        (root / name).mkdir()
    for name in ("v1", "v2", ".tmp-v4-abc", "notes"):
        os.utime(root / name, (0, 0))

    assert ModelDirectory(root).sweep({"v1"}) == [".tmp-v4-abc", "v2"]
    assert {entry.name for entry in root.iterdir()} == {"v1", "v3", "notes"}, "v3 is somebody's work"


def test_sweeping_where_nothing_was_ever_saved_removes_nothing(tmp_path: Path):
    assert ModelDirectory(tmp_path / "absent").sweep(set()) == []


def test_a_file_of_any_size_is_not_read_into_memory(root):
    sha256 = artifacts.write(ModelDirectory(root), "v3", manifest(), FILES)
    with (root / "v3" / "model.onnx").open("r+b") as file:
        file.truncate((1 << 30) + 1)

    with pytest.raises(Unusable, match=r"model.onnx has 1,073,741,825 bytes"):
        artifacts.read_verified(ModelDirectory(root), "v3", sha256)


def test_a_full_disk_leaves_no_version_and_no_file(root, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("common.model_directory.os.fsync", full)

    with pytest.raises(OSError, match="No space left"):
        artifacts.write(ModelDirectory(root), "v3", manifest(), FILES)

    assert list(root.iterdir()) == []
