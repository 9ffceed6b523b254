"""Versions over HTTP: the list, where one comes from, its files, its figures by time and beside another's."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from tests.integration.test_api import NOON, metric, running_api

from common import tables
from common.database import naive_utc

HOUR = timedelta(hours=1)


@pytest.fixture
async def api(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as running:
        yield running


async def changed(api, version, **values):
    async with api.engine.begin() as connection:
        await connection.execute(
            update(tables.model_versions).where(tables.model_versions.c.version == version).values(**values)
        )


async def evaluated(api, version, *figures):
    """Each figure is (name, split, value, rows, when)."""
    async with api.engine.begin() as connection:
        version_id = await connection.scalar(
            select(tables.model_versions.c.id).where(tables.model_versions.c.version == version)
        )
    rows = [
        {
            "model_version_id": version_id,
            "metric_name": name,
            "metric_value": value,
            "metric_type": "classification",
            "evaluated_at": naive_utc(when),
            "evaluation_dataset_size": rows,
            "metadata": {"dataset_split": split} if split else None,
        }
        for name, split, value, rows, when in figures
    ]
    await api.insert(tables.model_quality_metrics, *rows)


async def listed(api, **query):
    return [item["version"] for item in (await api.get("/models", **query))["items"]]


# The list


async def test_versions_are_sorted_by_number_not_by_text(api):
    for name in ("v9", "v10", "v2.10", "v2.9", "v100"):
        await api.insert(
            tables.model_versions,
            {"version": name, "file_path": f"/models/{name}", "model_type": "xgboost", "strategy_id": "s"},
        )

    assert await listed(api, sort="version") == ["v2.9", "v2.10", "v9", "v10", "v100"]
    assert await listed(api, sort="-version", limit=2, offset=1) == ["v10", "v9"]


async def test_versions_are_sorted_by_training_and_by_creation_either_way(api):
    late = await api.version(trained_at=NOON + HOUR)
    early = await api.version(trained_at=NOON)
    await changed(api, late, created_at=datetime(2026, 1, 1))
    await changed(api, early, created_at=datetime(2026, 1, 2))

    assert await listed(api) == await listed(api, sort="-trained_at") == [late, early]
    assert await listed(api, sort="trained_at") == [early, late]
    assert await listed(api, sort="created_at") == [late, early]
    assert await listed(api, sort="-created_at") == [early, late]


async def test_versions_are_filtered_by_type_and_the_total_counts_all_pages(api):
    trees, forest = await api.version(), await api.version()
    await changed(api, forest, model_type="random_forest")
    unowned = await api.version(strategy_id="default")
    await changed(api, unowned, strategy_id=None)

    assert await listed(api, model_type="random_forest") == [forest]
    assert set(await listed(api, model_type="xgboost", strategy_id="momentum")) == {trees}
    assert await listed(api, strategy_id="default") == [unowned]
    beyond = await api.get("/models", offset=50)
    assert (beyond["items"], beyond["total"]) == ([], 3)


@pytest.mark.parametrize("query", ["sort=verdict", "model_type=oracle", "limit=0", "limit=1001", "offset=-1"])
async def test_a_list_nobody_can_answer_is_400(api, query):
    assert (await api.client.get(f"/api/v1/models?{query}")).status_code == 400


# One version


async def test_a_version_says_where_it_comes_from(api):
    version = await api.version()
    run_id = uuid4()
    period = {"start": "2026-02-01T00:00:00Z", "end": "2026-02-08T00:00:00Z"}
    await api.insert(
        tables.training_runs,
        {
            "run_id": run_id,
            "strategy_id": "momentum",
            "symbol": "BTCUSDT",
            "trigger": "schedule",
            "priority": "NORMAL",
            "state": "succeeded",
            "figures": {"periods": {"train": period, "validation": period, "test": period}},
            "trace_id": "trace-7",
        },
    )
    await changed(
        api,
        version,
        run_id=run_id,
        training_config={"dataset_id": "d-1", "symbol": "BTCUSDT", "parameters": {"max_depth": 4}},
        evidence={"champion": {"version": "v0", "accuracy": 0.5}},
    )

    lineage = (await api.get(f"/models/{version}"))["lineage"]

    assert lineage == {
        "dataset_id": "d-1",
        "symbol": "BTCUSDT",
        "train_period": period,
        "validation_period": period,
        "test_period": period,
        "parameters": {"max_depth": 4},
        "parent_version": "v0",
        "unscored": None,
        "trigger": "schedule",
        "requested_by": "trainer",
        "trace_id": "trace-7",
    }


async def test_a_version_of_the_older_service_has_neither_lineage_nor_files_nor_activations(api):
    await api.insert(
        tables.model_versions,
        {"version": "v900", "file_path": "/models/v900", "model_type": "random_forest", "strategy_id": None},
    )

    shown = await api.get("/models/v900")

    assert (shown["files"], shown["activations"]) == ([], [])
    assert {value for name, value in shown["lineage"].items() if name != "parameters"} == {None}


async def states(api, version):
    return {file["name"]: file["state"] for file in (await api.get(f"/models/{version}"))["files"]}


async def test_files_are_held_against_what_was_registered(api):
    version = await api.version()
    directory = api.storage / version
    whole = {"manifest.json": "ok", "model.onnx": "ok", "model.ubj": "ok"}
    assert await states(api, version) == whole
    onnx = (await api.get(f"/models/{version}"))["files"][1]
    assert (onnx["size_bytes"], len(onnx["sha256"])) == (4, 64)

    (directory / "model.onnx").write_bytes(b"0nnx")
    (directory / "model.ubj").unlink()
    assert await states(api, version) == whole | {"model.onnx": "changed", "model.ubj": "missing"}

    (directory / "manifest.json").write_bytes(b"{}")
    assert await states(api, version) == {"manifest.json": "changed"}

    (directory / "manifest.json").unlink()
    assert await states(api, version) == {"manifest.json": "missing"}


async def test_a_version_shows_the_newest_of_each_figure_and_who_activated_it(api):
    version = await api.version(metrics=[metric("accuracy", 0.5), metric("log_loss", 1.0)])
    await evaluated(
        api,
        version,
        ("accuracy", "test", 0.6, 900, datetime.now(UTC) + HOUR),
        ("accuracy", "live", 0.4, 10, NOON),
        ("accuracy", "live", 0.45, 10, NOON + HOUR),
        ("accuracy", None, 0.3, 10, NOON),
    )
    body = {"reason": "better", "actor": "ada"}
    assert (await api.post(f"/models/{version}/activate", body)).status_code == 200

    shown = await api.get(f"/models/{version}")

    figures = {
        ((each["metadata"] or {}).get("dataset_split"), each["metric_name"]): each["metric_value"]
        for each in shown["quality_metrics"]
    }
    assert len(shown["quality_metrics"]) == len(figures)
    assert figures == {
        ("test", "accuracy"): 0.6,
        ("test", "log_loss"): 1.0,
        ("live", "accuracy"): 0.45,
        (None, "accuracy"): 0.3,
    }
    [activation] = shown["activations"]
    assert (activation["epoch"], activation["actor"], activation["reason"]) == (1, "ada", "better")


# Calibration and confusion


async def test_calibration_and_confusion_are_those_that_the_training_kept_and_live_counts(api):
    version = await api.version()
    bins = [{"predicted": 0.55, "observed": 0.5, "rows": 40}]
    await changed(
        api,
        version,
        evidence={
            "labels": [-1, 1],
            "confusion": {"test": [[10, 5], [5, 20]]},
            "reliability": {"test": bins, "validation": bins},
        },
    )
    await api.insert(
        tables.live_sums,
        *(
            {"version": version, "hour": NOON + hour * HOUR, "name": name, "value": value}
            for hour, name, value in (
                (0, "confusion:1:-1", 3.0),
                (1, "confusion:1:-1", 1.0),
                (1, "confusion:0:0", 2.0),
                (1, "scored", 6.0),
            )
        ),
    )

    found = await api.get(f"/models/{version}/calibration")

    assert found["reason"] is None
    validation, test, live = found["items"]
    assert (validation["split"], validation["bins"]) == ("validation", bins)
    assert validation["confusion"]["counts"] == []
    assert validation["reason"]
    assert test == {
        "split": "test",
        "bins": bins,
        "confusion": {"labels": [-1, 1], "counts": [[10, 5], [5, 20]]},
        "reason": None,
    }
    assert live["confusion"] == {"labels": [-1, 0, 1], "counts": [[0, 0, 0], [0, 2, 0], [4, 0, 0]]}
    assert (live["split"], live["bins"]) == ("live", [])


async def test_a_version_of_which_nothing_was_kept_says_so(api):
    found = await api.get(f"/models/{await api.version()}/calibration")

    assert found["items"] == []
    assert "nothing was kept" in found["reason"]


# Two versions


async def test_two_versions_are_compared_figure_by_figure(api):
    left = await api.version(
        verdict="refused",
        metrics=[metric("accuracy", 0.5), metric("log_loss", 1.0), metric("baseline_accuracy", 0.4)],
    )
    right = await api.version(
        metrics=[
            metric("accuracy", 0.6),
            metric("log_loss", 1.0),
            metric("accuracy", 0.7, split="validation"),
        ]
    )

    found = await api.get(f"/models/{left}/compare/{right}")

    assert [each["version"] for each in found["versions"]] == [left, right]
    assert [each["verdict"] for each in found["verdicts"]] == ["refused", "accepted"]
    assert found["same_dataset"] is False
    compared = {
        (each["dataset_split"], each["metric_name"]): (each["difference"], each["better"])
        for each in found["metrics"]
    }
    assert compared == {
        ("test", "accuracy"): (pytest.approx(0.1), "right"),
        ("test", "log_loss"): (0.0, "equal"),
        ("test", "baseline_accuracy"): (None, None),
        ("validation", "accuracy"): (None, None),
    }


async def test_versions_of_one_dataset_are_said_to_be(api):
    left, right = await api.version(), await api.version()
    for each in (left, right):
        await changed(api, each, training_config={"dataset_id": "d-1"})

    assert (await api.get(f"/models/{left}/compare/{right}"))["same_dataset"] is True


@pytest.mark.parametrize("path", ["/compare/v999", "/compare/..1", "/compare/V1"])
async def test_a_comparison_with_nothing_is_404(api, path):
    version = await api.version()

    assert (await api.client.get(f"/api/v1/models/{version}{path}")).status_code == 404
    assert (await api.client.get("/api/v1/models/v999/calibration")).status_code == 404
