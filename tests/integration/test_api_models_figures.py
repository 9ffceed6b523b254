"""Figures of versions over HTTP: over time, the newest, and of those that trade."""

from datetime import timedelta

import pytest
from tests.integration.test_api import NOON, metric, running_api
from tests.integration.test_api_models import HOUR, changed, evaluated


@pytest.fixture
async def api(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as running:
        yield running


# Over time


def points(series):
    return [
        (point["timestamp"], point["metric_name"], point["dataset_split"], point["value"])
        for point in series["data_points"]
    ]


async def test_a_series_weighs_evaluations_by_their_rows_and_says_where_there_was_none(api):
    version = await api.version()
    await evaluated(
        api,
        version,
        ("accuracy", "live", 0.4, 100, NOON),
        ("accuracy", "live", 0.6, 300, NOON + HOUR / 2),
        ("accuracy", "live", 0.5, 0, NOON + 2 * HOUR),
        ("accuracy", "live", 0.9, 100, NOON + 3 * HOUR),  # not before the end
        ("accuracy", "test", 0.7, 100, NOON + HOUR),
        ("log_loss", "live", 1.0, 100, NOON + HOUR),
    )

    found = await api.get(
        f"/models/{version}/metrics/time-series",
        granularity="hour",
        start_time="2026-03-01T12:00:00",
        end_time="2026-03-01T16:00:00+01:00",
        metric_names="accuracy,mcc",
    )

    assert (found["model_version"], found["granularity"]) == (version, "hour")
    assert (found["start_time"], found["end_time"]) == ("2026-03-01T12:00:00Z", "2026-03-01T15:00:00Z")
    hours = [f"2026-03-01T{hour}:00:00Z" for hour in (12, 13, 14)]
    assert points(found) == [
        (hours[0], "accuracy", "live", pytest.approx(0.55)),
        (hours[0], "accuracy", "test", None),
        (hours[0], "mcc", None, None),
        (hours[1], "accuracy", "live", None),
        (hours[1], "accuracy", "test", 0.7),
        (hours[1], "mcc", None, None),
        (hours[2], "accuracy", "live", 0.5),
        (hours[2], "accuracy", "test", None),
        (hours[2], "mcc", None, None),
    ]


async def test_a_series_of_one_split_by_day_and_by_week(api):
    version = await api.version()
    await evaluated(
        api,
        version,
        ("accuracy", "live", 0.4, 100, NOON),
        ("accuracy", "live", 0.6, 100, NOON + timedelta(days=2)),
        ("accuracy", "test", 0.7, 100, NOON),
    )
    path = f"/models/{version}/metrics/time-series"
    span = {"start_time": "2026-03-01T00:00:00Z", "end_time": "2026-03-04T00:00:00Z"}

    by_day = await api.get(path, dataset_split="live", **span)
    by_week = await api.get(path, dataset_split="live", granularity="week", **span)

    assert [value for *_, value in points(by_day)] == [0.4, None, 0.6]
    assert [(at, value) for at, _, _, value in points(by_week)] == [
        ("2026-02-23T00:00:00Z", 0.4),
        ("2026-03-02T00:00:00Z", 0.6),
    ]


async def test_a_version_without_figures_has_an_empty_series(api):
    version = await api.version()

    assert (await api.get(f"/models/{version}/metrics/time-series"))["data_points"] == []


@pytest.mark.parametrize(
    "query",
    [
        "granularity=minute",
        "metric_names=a,,b",
        "metric_names=A",
        "start_time=2026-03-02T00:00:00Z&end_time=2026-03-01T00:00:00Z",
        "granularity=hour&start_time=2020-01-01T00:00:00Z",
        "dataset_split=train",
    ],
)
async def test_a_series_that_makes_no_sense_is_400(api, query):
    version = await api.version()

    answer = await api.client.get(f"/api/v1/models/{version}/metrics/time-series?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_a_series_longer_than_anybody_reads_is_400(api):
    version = await api.version()
    names = ",".join(f"m{number}" for number in range(30))
    query = (
        f"granularity=hour&metric_names={names}&start_time=2026-01-01T00:00:00Z&end_time=2026-03-30T00:00:00Z"
    )

    answer = await api.client.get(f"/api/v1/models/{version}/metrics/time-series?{query}")

    assert answer.status_code == 400
    assert "name fewer metrics" in answer.json()["detail"]


async def test_the_listing_of_metrics_holds_the_newest(api):
    version = await api.version()
    await evaluated(api, version, *(("accuracy", "live", n / 10, 10, NOON + n * HOUR) for n in range(5)))

    newest = await api.get(f"/models/{version}/metrics", limit=2)

    assert [each["metric_value"] for each in newest] == [0.3, 0.4]


# Those that trade


async def test_the_performance_of_models_counts_all_and_shows_those_that_trade(api):
    active = await api.version(
        metrics=[
            metric("accuracy", 0.56),
            metric("baseline_accuracy", 0.5),
            metric("lift", 0.06),
            metric("lift_lower", 0.01),
            metric("lift_upper", 0.11),
            metric("accuracy", 0.6, split="validation"),
            metric("baseline_accuracy", 0.55, split="validation"),
            metric("log_loss", 1.0),
        ]
    )
    other = await api.version(strategy_id="reversal")
    await changed(api, other, model_type="random_forest")
    assert (await api.post(f"/models/{active}/activate")).status_code == 200

    found = await api.get("/monitoring/models/performance")

    assert (found["active_models_count"], found["total_models_count"]) == (1, 2)
    assert found["models_by_strategy"] == {"momentum": 1, "reversal": 1}
    assert found["models_by_type"] == {"random_forest": 1, "xgboost": 1}
    [shown] = found["active"]
    assert (shown["strategy_id"], shown["version"], shown["model_type"]) == ("momentum", active, "xgboost")
    assert shown["metrics"] == [
        {
            "dataset_split": "test",
            "accuracy": 0.56,
            "baseline_accuracy": 0.5,
            "lift": 0.06,
            "lift_lower": 0.01,
            "lift_upper": 0.11,
        },
        {
            "dataset_split": "validation",
            "accuracy": 0.6,
            "baseline_accuracy": 0.55,
            "lift": pytest.approx(0.05),
            "lift_lower": None,
            "lift_upper": None,
        },
    ]


async def test_without_versions_nothing_performs(api):
    assert await api.get("/monitoring/models/performance") == {
        "active_models_count": 0,
        "total_models_count": 0,
        "models_by_strategy": {},
        "models_by_type": {},
        "active": [],
    }
