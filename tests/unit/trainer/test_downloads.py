"""Fetching a dataset: to disk, in pieces, whole or not at all, and never for ever."""

import asyncio
import hashlib
from uuid import uuid4

import httpx
import pytest

from common.errors import TryAgain, Unusable
from common.settings import FeatureServiceSettings
from trainer import datasets
from trainer.datasets import TEST_MISSING, Datasets

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = '"one"'


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(datasets, "DOWNLOAD_PAUSE_S", 0.001)


class Breaking(httpx.AsyncByteStream):
    """Sends `content` and breaks off instead of ending."""

    def __init__(self, content):
        self.content = content

    async def __aiter__(self):
        yield self.content
        raise httpx.ReadError("connection reset")


class Endless(httpx.AsyncByteStream):
    async def __aiter__(self):
        while True:
            yield bytes(1000)
            await asyncio.sleep(0.005)


class FeatureService:
    """Answers downloads with what `answers` give, one after the other; the last one for ever."""

    def __init__(self, *answers, records=1, status=200):
        self.answers = list(answers)
        self.records = records
        self.status = status
        self.asked = []

    def __call__(self, request):
        if not request.url.path.endswith("/download"):
            rows = dict.fromkeys(("train_records", "validation_records", "test_records"), self.records)
            return httpx.Response(self.status, json={"status": "ready", **rows})
        self.asked.append(dict(request.headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(request)


def whole(request):
    return httpx.Response(200, content=CONTENT, headers={"etag": ETAG})


def absent(request):
    return httpx.Response(404, json={"detail": "Split file not found"})


def overloaded(request):
    return httpx.Response(503, json={"detail": "overloaded"})


def broken_after(size, etag=ETAG):
    def answer(request):
        headers = {"etag": etag} if etag else {}
        return httpx.Response(200, stream=Breaking(CONTENT[:size]), headers=headers)

    return answer


def rest(request):
    start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
    span = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
    return httpx.Response(206, content=CONTENT[start:], headers={"etag": ETAG, "content-range": span})


def wrong_rest(request):
    return httpx.Response(206, content=b"x" * 10, headers={"etag": ETAG, "content-range": "bytes 5-14/20"})


def client(service, **options):
    return Datasets(FeatureServiceSettings(), httpx.MockTransport(service), **options)


async def downloaded(service, directory, **options):
    return await client(service, **options).download(uuid4(), "train", directory / "train.parquet")


async def test_a_download_lies_on_disk_with_its_hash(tmp_path):
    assert await downloaded(FeatureService(whole), tmp_path) == SHA256
    assert (tmp_path / "train.parquet").read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["train.parquet"]


async def test_a_download_that_breaks_off_goes_on_where_it_ended(tmp_path):
    service = FeatureService(broken_after(300_000), rest)

    assert await downloaded(service, tmp_path) == SHA256
    assert (tmp_path / "train.parquet").read_bytes() == CONTENT
    assert service.asked[1]["range"] == "bytes=300000-"
    assert service.asked[1]["if-range"] == ETAG


@pytest.mark.parametrize(
    "answers",
    [
        (broken_after(300_000), whole),  # it does not know ranges, or the file is another one
        (broken_after(300_000, etag=None), whole),
        (broken_after(300_000, etag='W/"weak"'), whole),
        (broken_after(300_000), wrong_rest, whole),
        (broken_after(300_000), broken_after(10), broken_after(500_000), whole),
        (overloaded, broken_after(300_000), overloaded, whole),
    ],
)
async def test_a_download_that_cannot_go_on_begins_anew(tmp_path, answers):
    assert await downloaded(FeatureService(*answers), tmp_path) == SHA256
    assert (tmp_path / "train.parquet").read_bytes() == CONTENT


async def test_nothing_proves_a_file_without_a_strong_tag(tmp_path):
    service = FeatureService(broken_after(300_000, etag=None), whole)

    await downloaded(service, tmp_path)

    assert "range" not in service.asked[1]


async def test_a_download_that_never_comes_to_its_end_is_tried_a_few_times(tmp_path):
    service = FeatureService(broken_after(10))

    with pytest.raises(TryAgain, match="download of train broke off: ReadError"):
        await downloaded(service, tmp_path)

    assert len(service.asked) == datasets.DOWNLOAD_ATTEMPTS
    assert not (tmp_path / "train.parquet").exists()


async def test_a_download_has_a_time_limit(tmp_path):
    endless = FeatureService(lambda _: httpx.Response(200, stream=Endless()))

    with pytest.raises(TryAgain, match=r"broke off: .* bytes in 0\.05 s"):
        await downloaded(endless, tmp_path, download_limit_s=0.05)


async def test_a_download_has_a_size_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MAX_SPLIT_BYTES", 100_000)

    with pytest.raises(Unusable, match="train is longer than 100000 bytes"):
        await downloaded(FeatureService(whole), tmp_path)


def only_test(answer):
    return lambda request: answer(request) if "split=test" in str(request.url) else whole(request)


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (FeatureService(only_test(absent), records=0), "empty_split"),
        (FeatureService(only_test(absent), records=1409), "file_not_found"),
        (FeatureService(only_test(absent), status=503), "file_not_found"),
        (FeatureService(only_test(broken_after(10))), "download_failed"),
        (FeatureService(only_test(lambda _: httpx.Response(500))), "download_failed"),
    ],
)
async def test_a_missing_test_split_has_its_reason_and_is_counted(tmp_path, service, reason):
    before = TEST_MISSING.labels(reason)._value.get()

    fetched = await client(service).fetch(uuid4(), tmp_path)

    assert fetched.missing == {"test": reason}
    assert fetched.sha256 == {"train": SHA256, "validation": SHA256}
    assert TEST_MISSING.labels(reason)._value.get() == before + 1


async def test_a_train_split_that_cannot_be_fetched_ends_the_attempt(tmp_path):
    with pytest.raises(TryAgain, match="broke off"):
        await client(FeatureService(broken_after(10))).fetch(uuid4(), tmp_path)
