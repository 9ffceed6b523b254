"""What a fit compares with lies where its child may read it, wherever the versions are kept."""

from types import SimpleNamespace

import msgspec
import pytest

from common.errors import Unusable
from common.model_directory import ModelDirectory
from trainer.job import ChampionFile
from trainer.versions_at_hand import brought


class Wanted(msgspec.Struct, frozen=True):
    """As much of a job as is looked at."""

    champion: ChampionFile | None = None
    earlier: tuple[ChampionFile, ...] = ()


def file(version, root="s3://models"):
    return ChampionFile(version=version, sha256="ab", root=root)


def bucket(**versions):
    """A store that is no directory of this machine."""

    def read(version, name):
        if name not in versions.get(version, {}):
            raise Unusable(f"{version}/{name} is not there")
        return versions[version][name]

    return SimpleNamespace(read=read, names=lambda version: list(versions.get(version, {})))


def test_versions_of_a_directory_stay_where_they_are(tmp_path):
    job = Wanted(champion=file("v1", str(tmp_path)))

    assert brought(job, ModelDirectory(tmp_path), tmp_path / "run") is job


def test_versions_of_a_bucket_are_copied_each_once(tmp_path):
    files = {"manifest.json": b"{}", "model.onnx": b"model"}
    job = Wanted(champion=file("v2"), earlier=(file("v1"), file("v2")))

    moved = brought(job, bucket(v1=files, v2=files), tmp_path)

    [root] = {each.root for each in (moved.champion, *moved.earlier)}
    local = ModelDirectory.at(root)
    assert set(local.versions()) == {"v1", "v2"}
    assert local.read("v2", "model.onnx") == b"model"
    assert [each.sha256 for each in moved.earlier] == ["ab", "ab"]


def test_a_version_that_is_gone_leaves_the_others_to_compare_with(tmp_path):
    job = Wanted(champion=file("v2"), earlier=(file("v1"),))

    moved = brought(job, bucket(v1={"manifest.json": b"{}"}), tmp_path)

    local = ModelDirectory.at(moved.champion.root)
    assert "v1" in local.versions()
    with pytest.raises(Unusable, match="v2"):
        local.read("v2", "manifest.json")
