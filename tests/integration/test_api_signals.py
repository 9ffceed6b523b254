"""Signals, executions and decisions over HTTP: every row on one page, and a signal with all that is known."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from tests.integration.platform_rows import Platform
from tests.integration.test_api import NOON, a_signal, running_api

from common import tables
from common.core.ids import entry_signal_id
from common.messages import MarketSnapshot, TradingSignal, encode_signal

EXIT = {
    "rule_triggered": "stop_loss",
    "reasoning": "stop loss: long at -2 %",
    "pnl_pct": "-2.1",
    "generation": 1,
    "rules": [{"rule": "stop_loss", "fires": True}],
}


@pytest.fixture
async def api(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as running:
        yield running


def signal(number, *, second=0, **changes):
    at = (NOON + timedelta(seconds=second)).replace(tzinfo=None)
    return a_signal(0, is_warmup=False) | {"signal_id": UUID(int=number), "timestamp": at} | changes


def execution(number, *, second=0, **changes):
    at = (NOON + timedelta(seconds=second)).replace(tzinfo=None)
    return {
        "id": UUID(int=number),
        "signal_id": uuid4(),
        "strategy_id": "momentum",
        "asset": "BTCUSDT",
        "side": "sell",
        "execution_price": Decimal("100.50"),
        "execution_quantity": Decimal("0.0100"),
        "execution_fees": Decimal("0.05"),
        "executed_at": at,
        "signal_price": Decimal(100),
        "signal_timestamp": at,
        "performance": {"realized_pnl": "1.5", "order_id": "EX-1"},
    } | changes


def outcome(symbol, **changes):
    return {
        "strategy_id": "momentum",
        "symbol": symbol,
        "feature_timestamp": NOON,
        "decided_at": NOON,
        "outcome": "skip",
        "reason": "open_order",
        "facts": {"orders": []},
        "signal_id": None,
        "version": "v3",
        "replica": "one",
    } | changes


async def pages(api, path, key, **query):
    """The ids on every page, in the order in which they are shown."""
    seen, before = [], {}
    while True:
        found = await api.get(path, **query, **before)
        assert len(found["items"]) <= query["limit"]
        seen.append([UUID(each[key]).int for each in found["items"]])
        if found["next_before"] is None:
            return seen
        before = {"before": found["next_before"]}


@pytest.mark.parametrize(
    ("path", "key", "table", "row"),
    [
        ("/signals", "signal_id", tables.trading_signals, signal),
        ("/executions", "id", tables.execution_events, execution),
    ],
    ids=["signals", "executions"],
)
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_pages_show_every_row_once_also_those_of_one_instant(api, path, key, table, row, limit):
    of_one_instant = [row(number) for number in range(1, 6)]
    await api.insert(table, row(8, second=-1), *of_one_instant, row(7, second=1))

    seen = await pages(api, path, key, limit=limit)

    assert [number for page in seen for number in page] == [7, 5, 4, 3, 2, 1, 8]
    assert all(seen)


async def test_a_row_that_comes_meanwhile_does_not_shift_the_pages(api):
    await api.insert(tables.trading_signals, *(signal(number, second=number) for number in range(1, 5)))
    first = await api.get("/signals", limit=2)

    await api.insert(tables.trading_signals, signal(9, second=60))

    second = await api.get("/signals", limit=2, before=first["next_before"])
    assert [UUID(each["signal_id"]).int for each in second["items"]] == [2, 1]
    assert second["next_before"] is None


async def test_a_bare_time_is_a_cursor_too(api):
    await api.insert(tables.trading_signals, signal(1), signal(2, second=-1))

    found = await api.get("/signals", before="2026-03-01T13:00:00+01:00")

    assert [UUID(each["signal_id"]).int for each in found["items"]] == [2]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {1, 2, 3, 4, 5}),
        ({"side": "sell"}, {2}),
        ({"kind": "exit"}, {2}),
        ({"kind": "entry"}, {1, 3, 4, 5}),
        ({"is_warmup": True}, {3}),
        ({"is_warmup": False}, {1, 2, 4, 5}),
        ({"strategy_id": "reversal"}, {4}),
        ({"symbol": "ETHUSDT"}, {5}),
        ({"symbol": "ETHUSDT", "strategy_id": "reversal"}, set()),
        ({"start_time": "2026-03-01T12:00:04"}, {4, 5}),
        ({"end_time": "2026-03-01T12:00:04Z"}, {1, 2, 3}),
        ({"start_time": "2026-03-01T12:00:02Z", "end_time": "2026-03-01T12:00:04Z", "kind": "entry"}, {3}),
    ],
)
async def test_signals_are_filtered(api, query, expected):
    await api.insert(
        tables.trading_signals,
        signal(1, second=1),
        signal(2, second=2, side="sell", metadata=EXIT),
        signal(3, second=3, is_warmup=True, model_version=None),
        signal(4, second=4, strategy_id="reversal", metadata=None),
        signal(5, second=5, asset="ETHUSDT"),
    )

    found = (await api.get("/signals", **query))["items"]

    assert {UUID(each["signal_id"]).int for each in found} == expected
    assert {each["kind"] for each in found if UUID(each["signal_id"]).int == 2} <= {"exit"}


@pytest.mark.parametrize("path", ["/signals", "/executions"])
@pytest.mark.parametrize(
    "query",
    [
        "before=yesterday",
        "before=2026-03-01T12:00:00Z~1",
        "before=0001-01-01T00:00:00",
        "start_time=2026-03-02T00:00:00&end_time=2026-03-01T00:00:00",
        "end_time=9999-12-31T23:59:59",
        "limit=0",
        "limit=1001",
        "offset=1",
    ],
)
async def test_a_page_that_means_nothing_is_400(api, path, query):
    answer = await api.client.get(f"/api/v1{path}?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_executions_are_filtered_and_exact(api):
    await api.insert(
        tables.execution_events,
        execution(1),
        execution(2, strategy_id="reversal"),
        execution(3, asset="ETHUSDT", second=60),
    )

    async def found(**query):
        return {UUID(each["id"]).int for each in (await api.get("/executions", **query))["items"]}

    assert await found(strategy_id="momentum") == {1, 3}
    assert await found(symbol="BTCUSDT", strategy_id="reversal") == {2}
    assert await found(start_time="2026-03-01T12:00:01Z") == {3}
    [first] = (await api.get("/executions", symbol="ETHUSDT"))["items"]
    assert (first["price"], first["quantity"], first["fees"]) == ("100.5", "0.01", "0.05")
    assert (first["executed_at"], first["performance"]["realized_pnl"]) == ("2026-03-01T12:01:00Z", "1.5")


# One signal

DECIDED = TradingSignal(
    signal_id=entry_signal_id("momentum", "BTCUSDT", NOON),
    signal_type="buy",
    symbol="BTCUSDT",
    amount=80.0,
    confidence=0.7,
    timestamp=NOON,
    strategy_id="momentum",
    market_data_snapshot=MarketSnapshot(price=100.5, spread=0.01),
    model_version="v3",
    metadata={
        "reasoning": "up is probable: buy BTCUSDT for 80",
        "requested_amount": 100.0,
        "amount": 80.0,
        "amount_cut_by": ["balance"],
        "proposal": {"threshold": 0.55},
        "gates": {"state": {"state": "ACTIVE"}, "open_order": {}, "balance": {"amount_quote": "80"}},
    },
    trace_id="t-1",
)
PATH = f"/signals/{DECIDED.signal_id}"


def intent(state, **changes):
    return {
        "signal_id": DECIDED.signal_id,
        "kind": "entry",
        "strategy_id": DECIDED.strategy_id,
        "symbol": DECIDED.symbol,
        "side": DECIDED.signal_type,
        "amount_quote": Decimal(80),
        "payload": encode_signal(DECIDED).decode(),
        "trace_id": "t-1",
        "valid_until": NOON + timedelta(seconds=5),
        "state": state,
        "owner": "one",
        "lease_until": NOON,
        "created_at": NOON,
        "published_at": NOON + timedelta(seconds=1) if state == "published" else None,
    } | changes


async def test_a_signal_is_told_from_its_decision_to_its_fills(api, database_url):
    platform = Platform(database_url)
    await platform.open()
    order_id = await platform.order("BTCUSDT", "Buy", filled="0.8", signal_id=DECIDED.signal_id)
    await platform.order("BTCUSDT", "Buy")
    recorded = {**DECIDED.metadata, "contributions": {"features": []}}
    await api.insert(
        tables.trading_signals, signal(1) | {"signal_id": DECIDED.signal_id, "metadata": recorded}
    )
    await api.insert(tables.signal_outbox, intent("published", attempts=1))
    await api.insert(tables.execution_events, execution(1, signal_id=DECIDED.signal_id), execution(2))

    found = await api.get(PATH)

    assert (found["kind"], found["metadata"]) == ("entry", recorded)
    told = found["explanation"]
    assert told["amounts"] == {"requested": 100.0, "sent": 80.0, "cut_by": ["balance"]}
    assert [each["gate"] for each in told["gates"]] == ["state", "open_order", "balance"]
    assert (told["reasoning"], told["contributions"]) == (DECIDED.metadata["reasoning"], {"features": []})
    assert (found["outbox"]["state"], found["outbox"]["attempts"]) == ("published", 1)
    assert found["outbox"]["published_at"] == "2026-03-01T12:00:01Z"
    [order] = found["orders"]
    assert (order["order_id"], order["status"], order["filled_quantity"]) == (order_id, "filled", "0.8")
    assert [UUID(each["id"]).int for each in found["executions"]] == [1]


async def test_a_signal_that_was_never_published_says_why(api):
    await api.insert(tables.signal_outbox, intent("expired", reason="trading state HALTED"))

    found = await api.get(PATH)

    assert (found["outbox"]["state"], found["outbox"]["reason"]) == ("expired", "trading state HALTED")
    assert (found["symbol"], found["price"], found["amount_quote"]) == ("BTCUSDT", "100.5", "80.0")
    assert [each["gate"] for each in found["explanation"]["gates"]] == ["state", "open_order", "balance"]
    assert found["executions"] == []


async def test_where_no_order_manager_has_its_tables_the_orders_are_not_known(api):
    await api.insert(tables.trading_signals, signal(1) | {"signal_id": DECIDED.signal_id, "metadata": EXIT})

    found = await api.get(PATH)

    assert (found["kind"], found["orders"], found["outbox"]) == ("exit", None, None)
    assert found["explanation"]["rules"] == EXIT["rules"]


@pytest.mark.parametrize(("name", "status"), [(uuid4(), 404), ("nothing", 404)])
async def test_an_unknown_signal_is_404(api, name, status):
    answer = await api.client.get(f"/api/v1/signals/{name}")

    assert (answer.status_code, answer.json()["code"]) == (status, "not_found")


# Decisions


async def test_signals_exits_and_the_newest_skips_are_one_feed(api):
    await api.insert(
        tables.trading_signals,
        signal(1, second=-2),
        signal(2, second=2, side="sell", metadata=EXIT, model_version=None),
    )
    await api.insert(
        tables.latest_outcomes,
        outcome("BTCUSDT"),
        outcome("ETHUSDT", outcome="signal", reason=None, decided_at=NOON + timedelta(seconds=9)),
        outcome("BTCUSDT", strategy_id="reversal", decided_at=NOON - timedelta(seconds=9)),
    )

    everything = (await api.get("/decisions"))["items"]
    of_momentum = (await api.get("/decisions", strategy_id="momentum", limit=2))["items"]

    assert [(each["kind"], each["strategy_id"], each["reason"]) for each in everything] == [
        ("exit", "momentum", "stop_loss"),
        ("skip", "momentum", "open_order"),
        ("signal", "momentum", None),
        ("skip", "reversal", "open_order"),
    ]
    exit_, skip, entry, _ = everything
    assert exit_["facts"]["reasoning"] == EXIT["reasoning"]
    assert (skip["facts"], skip["side"], skip["at"]) == ({"orders": []}, None, "2026-03-01T12:00:00Z")
    assert (entry["facts"]["price"], entry["facts"]["amount_quote"]) == ("60000.5", "150.25")
    assert [each["kind"] for each in of_momentum] == ["exit", "skip"]
