"""Versions in a bucket of a server that speaks S3: complete or not at all, and served from there."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import boto3
import msgspec
import pytest
from tests.processes import listens, soon
from tests.unit.inference.model_files import echo, manifest

from common import artifacts
from common.errors import Conflict, TryAgain, Unusable
from common.model_bucket import ModelBucket
from common.model_directory import ModelDirectory
from common.model_storage import problem, store_at
from common.model_store import MANIFEST
from inference.loading import load
from sandbox.ports import free_port

KEY, SECRET = "reader", "the-secret-of-the-bucket"
FILES = {"model.onnx": b"model", MANIFEST: b"{}"}


@pytest.fixture(scope="module")
def s3():
    """The address of a server with an empty bucket `models`."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert soon(lambda: listens(port), 30)
        address = f"http://127.0.0.1:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        client.create_bucket(Bucket="models")
        yield address
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def reached(s3, monkeypatch):
    """The variables that operators set."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(reached, request):
    return store_at(f"s3://models/{re.sub('[^a-z_]', '', request.node.name)}")


@pytest.fixture(params=["bucket", "directory"])
def store(request, tmp_path):
    """Either of them: what is true of one is true of the other."""
    return (
        request.getfixturevalue("bucket")
        if request.param == "bucket"
        else ModelDirectory(tmp_path / "models")
    )


def test_a_version_is_there_with_all_its_files(store):
    assert store.versions() == {}

    store.create("v1", FILES)

    assert store.names("v1") == sorted(FILES)
    assert {name: store.read("v1", name) for name in FILES} == FILES
    assert store.versions() == {"v1": sum(map(len, FILES.values()))}


def test_a_version_that_exists_is_not_written_over(store):
    store.create("v1", FILES)

    with pytest.raises(Conflict, match="v1 exists"):
        store.create("v1", {**FILES, "model.onnx": b"another"})

    assert store.read("v1", "model.onnx") == b"model"


def test_a_version_that_is_removed_is_gone(store):
    store.create("v1", FILES)
    store.create("v2", FILES)

    store.remove("v1")
    store.remove("v1")

    assert set(store.versions()) == {"v2"}
    with pytest.raises(Unusable, match=r"v1.*manifest"):
        store.read("v1", MANIFEST)


@pytest.mark.parametrize("version", ["../v1", "v1/../v2", "v", "", "v1.", "V1", "v1\n", "v1%2f", "archive"])
def test_nothing_but_a_version_becomes_part_of_a_path(store, version):
    for ask in (
        store.names,
        store.remove,
        lambda name: store.read(name, MANIFEST),
        lambda name: store.create(name, FILES),
    ):
        with pytest.raises(Unusable, match="is no version"):
            ask(version)


def test_what_no_row_knows_of_is_swept_once_it_is_old(store):
    store.create("v1", FILES)
    store.create("v2", FILES)

    assert store.sweep({"v1"}) == []
    assert store.sweep({"v1"}, older_than_s=-5) == ["v2"]
    assert set(store.versions()) == {"v1"}


def test_a_version_moves_to_the_archive_and_is_read_there(store):
    archive = store_at(f"{store.location}/archive")
    store.create("v1", FILES)

    artifacts.archive(store, "v1", archive)
    artifacts.archive(store, "v1", archive)

    assert (store.versions(), set(archive.versions())) == ({}, {"v1"})
    assert archive.read("v1", "model.onnx") == b"model"


def test_a_version_whose_manifest_never_came_is_not_there(bucket):
    bucket.create("v1", {name: body for name, body in FILES.items() if name != MANIFEST})

    assert bucket.versions() == {}
    assert bucket.sweep(set(), older_than_s=-5) == ["v1"]
    assert bucket.names("v1") == []


def test_inference_serves_what_lies_in_the_bucket_and_nothing_that_was_changed_there(bucket):
    described = msgspec.structs.replace(manifest("v3"), trained_at=datetime.now(UTC) - timedelta(days=1))
    sha256 = artifacts.write(bucket, "v3", described, {"model.onnx": echo()})

    assert load(bucket, "v3", sha256).model.version == "v3"
    bucket.remove("v3")
    artifacts.write(bucket, "v3", manifest("v3", threshold=0.9), {"model.onnx": echo()})
    with pytest.raises(Unusable, match="not the one that was registered"):
        load(bucket, "v3", sha256)


def test_a_bucket_that_does_not_answer_is_asked_again_and_names_no_secret(reached, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    away = ModelBucket("s3://models/away")

    with pytest.raises(TryAgain) as caught:
        away.read("v1", MANIFEST)

    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not away.state().exists


def test_a_bucket_that_is_not_there_is_told(reached):
    missing = store_at("s3://nobody-made-it/models")

    assert problem(missing.state(), name="MODEL_STORAGE_URL", writes=True, min_free_bytes=0) == (
        "MODEL_STORAGE_URL does not answer"
    )
    with pytest.raises((TryAgain, Unusable)):
        missing.create("v1", FILES)


@pytest.mark.parametrize("url", ["s3:/models", "ftp://models/x", "://"])
def test_a_url_that_names_no_store_is_refused(url):
    if "://" not in url:
        assert isinstance(store_at(url), ModelDirectory)
        return
    with pytest.raises(Unusable, match="is no place for models"):
        store_at(url)


def test_who_has_a_directory_loads_no_client():
    code = "import sys, common.model_storage as m; m.store_at('/models'); sys.exit('obstore' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
