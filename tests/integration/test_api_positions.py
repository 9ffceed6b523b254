"""Positions over HTTP: their stops and coverage, their exits, and the close that an operator asks for."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from tests.integration.test_api import NOON, a_lifecycle, a_signal, running_api

from common import tables

VERDICTS = [{"rule": "stop_loss", "fires": False, "level": "98", "pnl_pct": "1.5", "close_pct": "100"}]


@pytest.fixture
async def api(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as running:
        yield running


def lifecycle(number, **changes):
    return a_lifecycle("BTCUSDT") | {"lifecycle_id": UUID(int=number), "entry_price": Decimal(100)} | changes


def exit_signal(number, lifecycle_id, *, second=1, metadata=None):
    by_rule = {"rule_triggered": "stop_loss", "lifecycle_id": str(UUID(int=lifecycle_id))}
    return a_signal(0) | {
        "signal_id": UUID(int=number),
        "timestamp": (NOON + timedelta(seconds=second)).replace(tzinfo=None),
        "metadata": metadata or by_rule,
    }


async def audited(api):
    return [
        (each["action"], each["subject"], each["actor"], each["reason"])
        for each in (await api.get("/monitoring/audit"))["items"]
    ]


@pytest.mark.parametrize(
    ("side", "size", "price", "pnl_pct"),
    [("long", "0.5", "101.5", "1.5"), ("short", "-0.5", "101.5", "-1.5"), ("long", "0.5", None, None)],
)
async def test_a_position_shows_its_stop_its_profit_and_when_its_rules_were_asked(
    api, side, size, price, pnl_pct
):
    evaluated = price and datetime.now(UTC) - timedelta(seconds=40)
    await api.insert(
        tables.position_lifecycles,
        lifecycle(
            1,
            side=side,
            size=Decimal(size),
            stop_price=Decimal("98.00"),
            best_pnl_pct=Decimal("3.0"),
            last_price=price and Decimal(price),
            last_evaluated_at=evaluated,
            price_source=price and "price.seen",
            rules_version="3fb22ffacb12",
            verdicts=VERDICTS,
            refusals=2,
        ),
    )

    [found] = (await api.get("/positions"))["items"]

    assert (found["stop_price"], found["best_pnl_pct"], found["refusals"]) == ("98", "3", 2)
    assert found["verdicts"][0]["level"] == "98"
    assert found["unrealized_pnl_pct"] == pnl_pct
    if price is None:
        assert found["coverage_seconds"] is found["price_source"] is None
    else:
        assert 40 <= found["coverage_seconds"] < 90


async def test_a_closed_position_is_neither_covered_nor_worth_anything(api):
    await api.insert(
        tables.position_lifecycles,
        lifecycle(1, closed_at=NOON, last_price=Decimal(101), last_evaluated_at=NOON),
    )

    [found] = (await api.get("/positions", is_open=False))["items"]

    assert found["coverage_seconds"] is found["unrealized_pnl_pct"] is None
    assert found["last_price"] == "101"


async def test_closed_positions_are_paged(api):
    await api.insert(
        tables.position_lifecycles, *(lifecycle(number, closed_at=NOON) for number in range(1, 6))
    )

    first = await api.get("/positions", is_open=False, limit=3)
    second = await api.get("/positions", is_open=False, limit=3, before=first["next_before"])

    shown = [UUID(each["lifecycle_id"]).int for page in (first, second) for each in page["items"]]
    assert (shown, second["next_before"]) == ([5, 4, 3, 2, 1], None)


async def test_one_position_is_shown_with_the_exits_of_its_life_alone(api):
    await api.insert(
        tables.position_lifecycles,
        lifecycle(1, closed_at=NOON, opened_at=NOON - timedelta(hours=1)),
        lifecycle(2),
    )
    await api.insert(
        tables.trading_signals,
        exit_signal(11, 2, second=1),
        exit_signal(12, 2, second=16),
        exit_signal(13, 1, second=1),
        exit_signal(14, 2, second=2, metadata={"gates": {}}),
    )

    found = await api.get("/positions/BTCUSDT")

    assert UUID(found["lifecycle_id"]).int == 2
    assert [UUID(each["signal_id"]).int for each in found["exit_signals"]] == [12, 11]
    assert {each["kind"] for each in found["exit_signals"]} == {"exit"}


@pytest.mark.parametrize(("symbol", "status"), [("BTCUSDT", 404), ("btcusdt", 400), ("BTC", 400)])
async def test_a_position_that_is_not_open_is_not_shown(api, symbol, status):
    await api.insert(tables.position_lifecycles, lifecycle(1, closed_at=NOON))

    answer = await api.client.get(f"/api/v1/positions/{symbol}")

    assert answer.status_code == status


async def test_a_close_is_kept_and_audited_once_and_the_first_request_stands(api):
    await api.insert(tables.position_lifecycles, lifecycle(1))

    first = await api.post("/positions/BTCUSDT/close", {"actor": "olga", "reason": "maintenance"})
    again = await api.post("/positions/BTCUSDT/close", {"reason": "really"})

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert (first.json()["close_actor"], first.json()["close_reason"]) == ("olga", "maintenance")
    assert await audited(api) == [("close_position", "position:BTCUSDT", "olga", "maintenance")]


async def test_a_close_of_what_is_not_open_is_404_and_leaves_no_trace(api):
    answer = await api.post("/positions/BTCUSDT/close", {"actor": "olga", "reason": "maintenance"})

    assert answer.status_code == 404
    assert await audited(api) == []


@pytest.mark.parametrize("body", [None, {}, {"actor": "olga"}, {"reason": "r", "price": 1}, {"reason": ""}])
async def test_a_close_needs_its_reason(api, body):
    await api.insert(tables.position_lifecycles, lifecycle(1, lifecycle_id=uuid4()))

    assert (await api.post("/positions/BTCUSDT/close", body)).status_code == 400
