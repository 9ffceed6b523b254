"""A strategy's results over time, over HTTP and from a real database."""

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from tests.integration.test_api import a_lifecycle, running_api

from common import tables

PATH = "/strategies/momentum/performance/time-series"
SUMMARY = "/strategies/momentum/performance/summary"


@pytest.fixture
async def api(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as running:
        yield running


def closed(moment, pnl, *, order_id=None, strategy_id="momentum"):
    performance = {"realized_pnl": pnl, "order_id": order_id or str(uuid4())}
    return {
        "id": uuid4(),
        "signal_id": uuid4(),
        "strategy_id": strategy_id,
        "asset": "BTCUSDT",
        "side": "sell",
        "execution_price": Decimal(100),
        "execution_quantity": Decimal(1),
        "execution_fees": Decimal(0),
        "executed_at": datetime.fromisoformat(moment),
        "signal_price": Decimal(100),
        "signal_timestamp": datetime.fromisoformat(moment),
        "performance": performance,
    }


def point(*, total_pnl, total_orders, successful_orders):
    return {
        "success_rate": successful_orders / total_orders if total_orders else None,
        "total_pnl": total_pnl,
        "avg_pnl": total_pnl / total_orders if total_orders else None,
        "total_orders": total_orders,
        "successful_orders": successful_orders,
    }


NONE = point(total_pnl=0.0, total_orders=0, successful_orders=0)


def gapless(start, *, hours):
    begins = (datetime.fromisoformat(start) + timedelta(hours=hour) for hour in range(hours))
    return {f"{begin:%Y-%m-%dT%H:%M:%SZ}": NONE for begin in begins}


def by_time(found):
    points = {each.pop("timestamp"): each for each in found["data_points"]}
    assert list(points) == sorted(points)
    return points


async def test_results_are_summed_by_order_and_period_and_a_period_without_any_is_shown(api):
    await api.insert(
        tables.execution_events,
        closed("2026-03-01T10:05:00", None),  # an entry is no result
        closed("2026-03-01T10:10:00", "3.5", order_id="EX-1"),
        closed("2026-03-01T10:11:00", "-1", order_id="EX-1"),  # the same order: one success
        closed("2026-03-01T10:59:59", "-2", order_id="EX-2"),
        closed("2026-03-01T11:00:00", "1", order_id="EX-3"),
        closed("2026-03-02T23:00:00", "0", order_id="EX-4"),
        closed("2026-03-01T10:10:00", "99", strategy_id="reversal"),
    )
    span = {"start_time": "2026-03-01T00:00:00Z", "end_time": "2026-03-03T00:00:00"}

    by_hour = await api.get(PATH, granularity="hour", **span)
    by_day = await api.get(PATH, **span)
    by_week = await api.get(PATH, granularity="week", **span)

    assert by_time(by_hour) == gapless("2026-03-01T00:00:00+00:00", hours=48) | {
        "2026-03-01T10:00:00Z": point(total_pnl=0.5, total_orders=2, successful_orders=1),
        "2026-03-01T11:00:00Z": point(total_pnl=1.0, total_orders=1, successful_orders=1),
        "2026-03-02T23:00:00Z": point(total_pnl=0.0, total_orders=1, successful_orders=0),
    }
    assert [(each["timestamp"], each["total_orders"]) for each in by_day["data_points"]] == [
        ("2026-03-01T00:00:00Z", 3),
        ("2026-03-02T00:00:00Z", 1),
    ]
    assert [(each["timestamp"], each["total_pnl"]) for each in by_week["data_points"]] == [
        ("2026-02-23T00:00:00Z", 1.5),
        ("2026-03-02T00:00:00Z", 0.0),
    ]
    assert (by_day["start_time"], by_day["end_time"]) == ("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z")


async def test_rows_of_the_older_service_count_where_they_have_a_result(api):
    with_pnl, without = closed("2026-03-01T10:00:00", "1"), closed("2026-03-01T10:00:00", None)
    with_pnl["performance"], without["performance"] = {"realized_pnl": 2.5}, {"slippage": 0.6}
    await api.insert(tables.execution_events, with_pnl, without)

    found = await api.get(PATH, start_time="2026-03-01T00:00:00", end_time="2026-03-02T00:00:00")

    assert [(each["total_orders"], each["total_pnl"]) for each in found["data_points"]] == [(1, 2.5)]


async def test_the_range_includes_its_start_and_excludes_its_end(api):
    await api.insert(
        tables.execution_events, closed("2026-03-01T00:00:00", "1"), closed("2026-03-02T00:00:00", "1")
    )

    found = await api.get(PATH, start_time="2026-03-01T01:00:00+01:00", end_time="2026-03-02T00:00:00Z")

    assert [(each["timestamp"], each["total_orders"]) for each in found["data_points"]] == [
        ("2026-03-01T00:00:00Z", 1)
    ]


async def test_without_a_range_the_newest_periods_are_shown_also_of_a_strategy_without_results(api):
    found = await api.get(PATH)

    assert (found["strategy_id"], found["granularity"]) == ("momentum", "day")
    assert len(found["data_points"]) == 31  # the first one is cut
    assert {each["total_orders"] for each in found["data_points"]} == {0}


async def test_a_strategy_that_is_not_traded_and_never_was_is_404(api):
    for path in (PATH, SUMMARY):
        answer = await api.client.get(f"/api/v1{path.replace('momentum', 'unknown')}")

        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "query",
    [
        "granularity=minute",
        "start_time=yesterday",
        "start_time=2026-03-02T00:00:00&end_time=2026-03-01T00:00:00",
        "start_time=2026-03-01T00:00:00&end_time=2026-03-01T00:00:00",
        "granularity=hour&start_time=2025-01-01T00:00:00&end_time=2026-01-01T00:00:00",
        "end_time=0001-01-01T00:00:00",
        "start_time=9999-12-31T23:59:59-12:00",
        "symbol=BTCUSDT",
    ],
)
async def test_a_range_that_cannot_be_answered_is_400(api, query):
    for path in (PATH, SUMMARY):
        answer = await api.client.get(f"/api/v1{path}?{query}")

        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_a_summary_adds_up_and_its_drawdown_is_seen_order_by_order(api):
    await api.insert(
        tables.execution_events,
        closed("2026-03-01T10:00:00", "4", order_id="EX-1"),
        closed("2026-03-01T11:00:00", "-7.5", order_id="EX-2"),  # falls within the day
        closed("2026-03-01T12:00:00", "6", order_id="EX-3"),
        closed("2026-03-01T12:30:00", None) | {"execution_fees": Decimal("0.25")},
        closed("2026-03-03T09:00:00", "-2", order_id="EX-4") | {"execution_fees": Decimal("0.5")},
        closed("2026-03-03T09:01:00", "-1", order_id="EX-4"),
        closed("2026-03-01T10:00:00", "99", strategy_id="reversal"),
    )
    await api.insert(tables.position_lifecycles, a_lifecycle("BTCUSDT"))

    found = await api.get(SUMMARY, start_time="2026-03-01T00:00:00Z", end_time="2026-03-05T00:00:00Z")

    assert found == {
        "strategy_id": "momentum",
        "granularity": "day",
        "start_time": "2026-03-01T00:00:00Z",
        "end_time": "2026-03-05T00:00:00Z",
        "realized_pnl": "-0.5",
        "fees": "0.75",
        "total_orders": 4,
        "successful_orders": 2,
        "success_rate": 0.5,
        "best": "6",
        "worst": "-7.5",
        "max_drawdown": "7.5",
        "open_positions": 1,
        "equity": [
            {"timestamp": "2026-03-01T00:00:00Z", "equity": "2.5"},
            {"timestamp": "2026-03-02T00:00:00Z", "equity": "2.5"},
            {"timestamp": "2026-03-03T00:00:00Z", "equity": "-0.5"},
            {"timestamp": "2026-03-04T00:00:00Z", "equity": "-0.5"},
        ],
    }


async def test_a_summary_of_nothing_has_no_rate_no_best_and_never_fell(api):
    found = await api.get(SUMMARY)

    assert [found[name] for name in ("success_rate", "best", "worst")] == [None, None, None]
    assert [found[name] for name in ("realized_pnl", "fees", "max_drawdown")] == ["0", "0", "0"]
    assert (found["total_orders"], found["open_positions"]) == (0, 0)
