"""The sandbox's dataset builds against the bodies captured from the real Feature Service."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from sandbox.core.features import FEATURE_NAMES
from sandbox.core.market import label, synthetic
from sandbox.dataset_builds import DatasetBuilds, Pace
from sandbox.dataset_store import INTERRUPTED, DatasetStore
from sandbox.feature_service import create_app
from sandbox.market import Market, synthetic_series

START = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
UNKNOWN = "d5c9f425-73c9-4540-ba45-dfd43291efc3"
THRESHOLD = 0.0009

# Keys and types as captured; a value stands for itself where it is a string of one meaning.
READY_ROW: dict[str, Any] = {
    "id": "9396a9a8-6dfe-42d1-9681-fe269f6a09eb",
    "symbol": "BTCUSDT",
    "status": "ready",
    "split_strategy": "time_based",
    "train_period_start": "2026-11-19T00:00:00Z",
    "train_period_end": "2026-11-19T18:00:00Z",
    "validation_period_start": "2026-11-19T18:00:00Z",
    "validation_period_end": "2026-11-20T06:00:00Z",
    "test_period_start": "2026-11-20T06:00:00Z",
    "test_period_end": "2026-11-20T08:00:00Z",
    "walk_forward_config": None,
    "target_config": {"type": "classification", "horizon": 300, "threshold": 0.002},
    "feature_registry_version": "1.0.0",
    "train_records": 1080,
    "validation_records": 720,
    "test_records": 121,
    "output_format": "parquet",
    "storage_path": "/datasets/...",
    "created_at": "2026-11-22T13:09:43.305162Z",
    "completed_at": "2026-11-22T13:11:22.524199Z",
    "estimated_completion": None,
    "error_message": None,
}
BUILDING_ROW = {
    **READY_ROW,
    "status": "building",
    "train_records": 0,
    "validation_records": 0,
    "test_records": 0,
    "storage_path": None,
    "completed_at": None,
}
READY_MESSAGE = {
    "dataset_id": "9396a9a8-6dfe-42d1-9681-fe269f6a09eb",
    "symbol": "BTCUSDT",
    "status": "ready",
    "train_records": 1080,
    "validation_records": 720,
    "test_records": 121,
    "trace_id": None,
}


def shape(value: Any) -> Any:
    """Key order and types; what a JSON reader relies on."""
    if isinstance(value, dict):
        return [(key, shape(each)) for key, each in value.items()]
    return "number" if isinstance(value, int | float) else type(value).__name__


def at(bar: int) -> str:
    """The close of a bar of the market below."""
    return (START + (bar - 399) * timedelta(seconds=0.5)).isoformat().replace("+00:00", "Z")


def body(
    symbol: str = "BTCUSDT", *, train: int = 100, validation: int = 300, test: int = 360, end: int = 380
) -> dict[str, Any]:
    """Splits begin at these bars; everything that today's or the next release reads."""
    return {
        "symbol": symbol,
        "split_strategy": "time_based",
        "train_period_start": at(train),
        "train_period_end": at(validation),
        "validation_period_start": at(validation),
        "validation_period_end": at(test),
        "test_period_start": at(test),
        "test_period_end": at(end),
        "target_config": {"type": "classification", "horizon": 2, "threshold": THRESHOLD},
        "feature_registry_version": "candles-1",
        "target_registry_version": "1.0.0",
        "output_format": "parquet",
        "strategy_id": "momentum_v1",
    }


class FeatureService:
    """A Feature Service at 13:00 whose market has 400 closed bars, and what it announced."""

    def __init__(self, directory: Path, *, pace: Pace) -> None:
        series = synthetic_series("BTCUSDT", seed=1, edge=0.08, bars=500)
        market = Market({"BTCUSDT": series}, started_at=START, bar_seconds=0.5, history_bars=400)
        self.announced: list[dict[str, Any]] = []
        self.builds = DatasetBuilds(
            market, DatasetStore(directory), self._announce, pace=pace, clock=lambda: START
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(market, self.builds, api_key="key")),  # type: ignore[arg-type]
            base_url="http://feature-service",
            headers={"X-API-Key": "key"},
        )

    async def _announce(self, message: dict[str, Any]) -> None:
        self.announced.append(message)

    async def build(self, request: dict[str, Any]) -> str:
        answer = await self.http.post("/dataset/build", json=request)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["dataset_id"])

    async def row(self, dataset_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/dataset/{dataset_id}")
        assert answer.status_code == 200
        return dict(answer.json())

    async def finished(self, request: dict[str, Any]) -> dict[str, Any]:
        dataset_id = await self.build(request)
        async with asyncio.timeout(10):
            while (row := await self.row(dataset_id))["status"] == "building":
                await asyncio.sleep(0.01)
        return row

    async def split(self, dataset_id: str, split: str) -> pl.DataFrame:
        answer = await self.http.get(f"/dataset/{dataset_id}/download", params={"split": split})
        assert answer.status_code == 200
        return pl.read_parquet(io.BytesIO(answer.content))


QUICK = Pace(seconds_per_row=0, shortest_s=0.02, begins_after_s=0.01)


@asynccontextmanager
async def served(directory: Path, pace: Pace = QUICK) -> AsyncIterator[FeatureService]:
    service = FeatureService(directory, pace=pace)
    building = asyncio.create_task(service.builds.run())
    async with service.http:
        yield service
    building.cancel()
    with suppress(asyncio.CancelledError):
        await building


@pytest.fixture
async def service(tmp_path):
    async with served(tmp_path) as running:
        yield running


async def test_a_build_is_taken_on_with_202_and_shows_as_building_at_first(service):
    answer = await service.http.post("/dataset/build", json=body())
    row = await service.row(answer.json()["dataset_id"])

    assert answer.status_code == 202
    assert shape(answer.json()) == [
        ("dataset_id", "str"),
        ("status", "str"),
        ("estimated_completion", "NoneType"),
    ]
    assert answer.json()["status"] == row["status"] == "building"
    assert shape(row) == shape(BUILDING_ROW)


async def test_a_ready_row_has_the_captured_keys_and_types(service):
    row = await service.finished(body())

    assert shape(row) == shape(READY_ROW)
    assert row["train_period_start"] == at(100)
    assert row["target_config"] == {"type": "classification", "horizon": 2, "threshold": THRESHOLD}
    assert row["error_message"] is None


async def test_no_embargo_separates_the_splits_and_test_includes_its_end(service):
    row = await service.finished(body())

    assert [row[f"{split}_records"] for split in ("train", "validation", "test")] == [200, 60, 21]


async def test_a_test_split_that_ends_in_the_future_stops_at_the_last_label(service):
    row = await service.finished(body(end=5_000))

    assert row["test_records"] == 400 - 4 - 360  # 400 bars have closed, the last 4 have no label


async def test_the_splits_are_parquet_of_the_captured_schema(service):
    row = await service.finished(body())

    train = await service.split(row["id"], "train")

    assert train.schema == pl.Schema(
        {
            "timestamp": pl.Datetime("us", "UTC"),
            "symbol": pl.String(),
            **dict.fromkeys(FEATURE_NAMES, pl.Float64()),
            "target": pl.Int64(),
        }
    )
    assert train["timestamp"][0] == datetime.fromisoformat(at(100))
    assert train["timestamp"][-1] == datetime.fromisoformat(at(299))
    assert train["symbol"].unique().to_list() == ["BTCUSDT"]


async def test_rows_are_the_live_vectors_of_their_time_with_the_markets_labels(service):
    row = await service.finished(body(train=0))
    candles = synthetic(1, "BTCUSDT", 500, 0.08)

    frames = [await service.split(row["id"], split) for split in ("train", "validation", "test")]

    whole = pl.concat(frames)
    assert whole["target"].to_list() == label(candles, 4, THRESHOLD)[:381].tolist()
    assert whole["mid_price"].to_list() == candles.close[:381].tolist()
    assert whole["volatility_48"].is_nan().sum() == 48
    assert whole.null_count().sum_horizontal().item() == 0
    assert np.all(np.diff(whole["timestamp"].cast(pl.Int64).to_numpy()) == 500_000)


@pytest.mark.parametrize("type_", ["regression", "risk_adjusted"])
async def test_other_targets_are_floats(service, type_):
    row = await service.finished({**body(), "target_config": {"type": type_, "horizon": 2}})

    assert (await service.split(row["id"], "test")).schema["target"] == pl.Float64


async def test_the_list_shows_the_target_as_a_string_of_json(service):
    first, second = await service.finished(body()), await service.finished(body())

    answer = await service.http.get("/dataset/list", params={"limit": 2})
    newest = await service.http.get("/dataset/list", params={"limit": 1})

    assert answer.status_code == 200
    assert {each["id"] for each in answer.json()} == {first["id"], second["id"]}
    expected = f'{{"type": "classification", "horizon": 2, "threshold": {THRESHOLD}}}'
    assert answer.json()[0]["target_config"] == expected
    assert shape(answer.json()[0]) == shape({**READY_ROW, "target_config": ""})
    assert len(newest.json()) == 1


async def test_a_download_is_a_stream_of_known_length(service):
    row = await service.finished(body())

    answer = await service.http.get(f"/dataset/{row['id']}/download", params={"split": "train"})

    assert answer.headers["content-type"] == "application/octet-stream"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["content-disposition"] == f'attachment; filename="{row["id"]}_train.parquet"'


@pytest.mark.parametrize(
    "request_", [body("NOPEUSDT"), body("btcusdt"), body(train=-40, validation=-30, test=-20, end=-10)]
)
async def test_a_period_without_bars_fails_and_is_never_announced(service, request_):
    failed = await service.finished(request_)
    ready = await service.finished(body())
    async with asyncio.timeout(5):
        while not service.announced:
            await asyncio.sleep(0.01)

    reason = f"Insufficient historical data for {request_['symbol']} in requested period"
    assert (failed["status"], failed["error_message"]) == ("failed", reason)
    assert failed["completed_at"] is not None
    assert [message["dataset_id"] for message in service.announced] == [ready["id"]]


async def test_bars_without_a_label_are_called_leakage(service):
    row = await service.finished(body(train=396, validation=397, test=398, end=399))

    assert (row["status"], row["error_message"]) == ("failed", "Data leakage detected")


async def test_only_the_ready_are_announced_in_the_captured_form(service):
    row = await service.finished(body())
    async with asyncio.timeout(5):
        while not service.announced:
            await asyncio.sleep(0.01)

    assert [shape(message) for message in service.announced] == [shape(READY_MESSAGE)]
    assert service.announced[0]["dataset_id"] == row["id"]
    assert service.announced[0]["test_records"] == 21


async def test_downloads_that_cannot_be_are_refused_as_captured(service):
    ready = (await service.finished(body(validation=360)))["id"]  # validation has no bars
    failed = (await service.finished(body("NOPEUSDT")))["id"]
    building = await service.build(body())

    answers = {
        (given, split): await service.http.get(f"/dataset/{given}/download", params={"split": split})
        for given, split in [(building, "train"), (failed, "train"), (ready, "foo"), (ready, "validation")]
    }

    assert [(answer.status_code, answer.json()["detail"]) for answer in answers.values()] == [
        (400, "Dataset is not ready (status: building)"),
        (400, "Dataset is not ready (status: failed)"),
        (400, "Invalid split name"),
        (404, "Split file not found: validation"),
    ]
    assert (await service.http.get(f"/dataset/{ready}/download")).status_code == 422


async def test_a_missing_field_is_answered_with_422_in_the_captured_shape(service):
    given = {name: value for name, value in body().items() if name != "target_config"}

    answer = await service.http.post("/dataset/build", json=given)

    assert answer.status_code == 422
    assert answer.json() == {
        "detail": [
            {"type": "missing", "loc": ["body", "target_config"], "msg": "Field required", "input": given}
        ]
    }


@pytest.mark.parametrize("changes", [{"split_strategy": "walk_forward"}, {"test_period_end": at(0)}])
async def test_what_the_real_service_does_not_survive_is_a_500(service, changes):
    answer = await service.http.post("/dataset/build", json={**body(), **changes})

    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal server error"})


async def test_unknown_and_unreadable_ids_are_refused_as_captured(service):
    unknown = await service.http.get(f"/dataset/{UNKNOWN}")
    unreadable = await service.http.get("/dataset/abc")

    assert (unknown.status_code, unknown.json()) == (404, {"detail": "Dataset not found"})
    assert unreadable.status_code == 422
    assert unreadable.json() == {
        "detail": [
            {
                "type": "uuid_parsing",
                "loc": ["path", "dataset_id"],
                "msg": "Input should be a valid UUID, invalid length: found 3",
                "input": "abc",
                "ctx": {"error": "invalid length: found 3"},
            }
        ]
    }


async def test_a_deleted_dataset_is_gone(service, tmp_path):
    row = await service.finished(body())

    answer = await service.http.delete(f"/dataset/{row['id']}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await service.http.get(f"/dataset/{row['id']}")).status_code == 404
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/dataset/list", f"/dataset/{UNKNOWN}", f"/dataset/{UNKNOWN}/download"])
@pytest.mark.parametrize("key", [{"X-API-Key": "wrong"}, {"X-API-Key": ""}])
async def test_a_wrong_key_is_an_internal_server_error_in_plain_text(service, path, key):
    answer = await service.http.get(path, headers=key)

    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_nothing_is_answered_while_a_build_runs(tmp_path):
    async with served(tmp_path, Pace(shortest_s=0.4, begins_after_s=0)) as service:
        dataset_id = await service.build(body())
        while service.builds.hearing.is_set():
            await asyncio.sleep(0.001)
        asked = [service.http.get("/health"), service.row(dataset_id), service.http.get("/dataset/list")]
        answers = asyncio.gather(*asked)
        done, _ = await asyncio.wait([answers], timeout=0.1)
        health, row, _ = await answers

    assert not done
    assert health.status_code == 200
    assert row["status"] == "ready"  # a poll never sees a build at work


async def test_a_restart_finds_ready_datasets_and_gives_up_the_build_under_way(tmp_path):
    async with served(tmp_path) as service:
        ready = await service.finished(body())
    async with served(tmp_path, Pace(shortest_s=60, begins_after_s=0)) as service:
        interrupted = await service.build(body())
        while service.builds.hearing.is_set():
            await asyncio.sleep(0.001)

    async with served(tmp_path) as service:
        rows = [await service.row(dataset_id) for dataset_id in (ready["id"], interrupted)]
        train = await service.split(ready["id"], "train")

    assert rows[0] == ready
    assert train.height == 200
    assert (rows[1]["status"], rows[1]["error_message"]) == ("failed", INTERRUPTED)
    assert service.announced == []


def test_a_row_that_cannot_be_read_is_skipped(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "row.json").write_text(json.dumps({"id": 7}))

    assert DatasetStore(tmp_path).newest(10) == []
