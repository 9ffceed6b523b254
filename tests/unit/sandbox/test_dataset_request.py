"""Which bodies start a dataset build, and how the others are refused."""

from datetime import UTC, datetime

import pytest

from sandbox.core.dataset_request import BuildRequest, Crash, Unprocessable, parse
from sandbox.core.datasets import Period, Target

BODY = {
    "symbol": "BTCUSDT",
    "split_strategy": "time_based",
    "train_period_start": "2026-11-19T00:00:00Z",
    "train_period_end": "2026-11-19T18:00:00Z",
    "validation_period_start": "2026-11-19T18:00:00Z",
    "validation_period_end": "2026-11-20T06:00:00Z",
    "test_period_start": "2026-11-20T06:00:00Z",
    "test_period_end": "2026-11-20T08:00:00Z",
    "target_config": {"type": "classification", "horizon": 300, "threshold": 0.002},
    "feature_registry_version": "1.0.0",
    "output_format": "parquet",
    "target_registry_version": "1.0.0",
    "strategy_id": "momentum_v1",
}


def without(*names: str) -> dict[str, object]:
    return {name: value for name, value in BODY.items() if name not in names}


def test_a_superset_of_today_and_next_is_understood():
    request = parse(BODY)

    assert isinstance(request, BuildRequest)
    assert request.target == Target(type="classification", horizon=300, threshold=0.002)
    assert request.periods["test"] == Period(
        start=datetime(2026, 11, 20, 6, tzinfo=UTC), end=datetime(2026, 11, 20, 8, tzinfo=UTC)
    )


@pytest.mark.parametrize("written", ["2026-11-19T00:00:00", "2026-11-19T01:00:00+01:00", "2026-11-19"])
def test_a_moment_is_utc_unless_it_says_otherwise(written):
    request = parse({**BODY, "train_period_start": written})

    assert isinstance(request, BuildRequest)
    assert request.periods["train"].start == datetime(2026, 11, 19, tzinfo=UTC)


def test_every_missing_field_is_named():
    refused = parse(without("target_config", "symbol", "test_period_end"))

    assert isinstance(refused, Unprocessable)
    assert [(each["type"], each["loc"]) for each in refused.detail] == [
        ("missing", ["body", "symbol"]),
        ("missing", ["body", "test_period_end"]),
        ("missing", ["body", "target_config"]),
    ]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"symbol": 7}, ["body", "symbol"]),
        ({"split_strategy": "random"}, ["body", "split_strategy"]),
        ({"train_period_start": "yesterday"}, ["body", "train_period_start"]),
        ({"train_period_start": None}, ["body", "train_period_start"]),
        ({"target_config": "classification"}, ["body", "target_config"]),
        ({"target_config": {"type": "classification"}}, ["body", "target_config", "horizon"]),
        ({"target_config": {"type": "guess", "horizon": 60}}, ["body", "target_config", "type"]),
        (
            {"target_config": {"type": "classification", "horizon": 1.5}},
            ["body", "target_config", "horizon"],
        ),
        ({"target_config": {"type": "classification", "horizon": 0}}, ["body", "target_config", "horizon"]),
        (
            {"target_config": {"type": "classification", "horizon": 60, "threshold": "low"}},
            ["body", "target_config", "threshold"],
        ),
    ],
)
def test_a_field_that_is_not_readable_is_named(changes, where):
    refused = parse({**BODY, **changes})

    assert isinstance(refused, Unprocessable)
    assert [each["loc"] for each in refused.detail] == [where]


@pytest.mark.parametrize("body", [None, [], "dataset", 7])
def test_something_else_than_an_object_is_unprocessable(body):
    assert isinstance(parse(body), Unprocessable)


@pytest.mark.parametrize(
    "changes",
    [{"split_strategy": "walk_forward"}, {"validation_period_end": "2026-11-19T17:59:59Z"}],
)
def test_walk_forward_and_a_period_that_runs_backwards_crash_the_service(changes):
    assert isinstance(parse({**BODY, **changes}), Crash)
