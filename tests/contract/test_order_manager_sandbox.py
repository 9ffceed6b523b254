"""The simulated Order Manager's messages and rows against what the real one was seen to send and store."""

import re
import uuid
from datetime import datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest

from sandbox.core.order_rules import Plan, Signal, validate
from sandbox.core.orders import (
    Event,
    Order,
    cancelled,
    cancelled_event,
    fill_event,
    filled,
    placed,
    rejected_event,
)
from sandbox.core.orders import rejected as as_rejected

CAPTURED: dict[str, dict[str, Any]] = {
    "rejected_by_execution": {
        "event_id": "83a62385-b36f-43ef-98f6-89fc833b90be",
        "event_type": "rejected",
        "timestamp": "2026-11-22T13:11:30.922782",
        "trace_id": "hdr-3a8e1674",
        "order": {
            "id": "73cf8fa9-34d2-431a-a8ad-0116e0ecf4c8",
            "order_id": "REJECTED-36cd5b55-3c1a-47ee-9dac-8544def7a3fa",
            "signal_id": "36cd5b55-3c1a-47ee-9dac-8544def7a3fa",
            "asset": "BTCUSDT",
            "side": "Buy",
            "order_type": "Limit",
            "quantity": "0.00200000",
            "price": "91919.38000000",
            "status": "rejected",
            "filled_quantity": "0E-8",
            "average_price": None,
            "fees": None,
            "created_at": "2026-11-22T13:11:30.921114",
            "updated_at": "2026-11-22T13:11:30.921114",
            "executed_at": None,
            "is_dry_run": False,
        },
        "execution_details": {
            "execution_latency_seconds": None,
            "fill_percentage": 0.0,
            "remaining_quantity": "0.00200000",
        },
        "rejection_reason": "Order execution failed: HTTP error getting position: All connection attempts "
        "failed",
        "market_conditions": {
            "price": 92011.4,
            "spread": 0.2,
            "volume_24h": None,
            "volatility": 0.0003,
            "timestamp": "2026-11-22T13:11:30.857052+00:00",
        },
        "signal": {
            "signal_id": "36cd5b55-3c1a-47ee-9dac-8544def7a3fa",
            "signal_type": "buy",
            "asset": "BTCUSDT",
            "amount": 250.0,
            "confidence": 0.83,
            "strategy_id": "momentum_v1",
            "model_version": "v1765358102",
            "is_warmup": False,
        },
    },
    "rejected_by_risk": {
        "event_id": "a8b15bd1-4af7-41f0-a6f7-1bdf133369ac",
        "event_type": "rejected",
        "timestamp": "2026-11-22T13:12:41.906683",
        "trace_id": "hdr-5bf26419",
        "order": {
            "id": "85bf6970-676e-4aab-8c8a-3b5bf23654cc",
            "order_id": "REJECTED-fc91ae53-69d9-4c1d-9471-e19480ed967f",
            "signal_id": "fc91ae53-69d9-4c1d-9471-e19480ed967f",
            "asset": "BTCUSDT",
            "side": "Buy",
            "order_type": "Limit",
            "quantity": "0.00500000",
            "price": "91919.38000000",
            "status": "rejected",
            "filled_quantity": "0E-8",
            "average_price": None,
            "fees": None,
            "created_at": "2026-11-22T13:12:41.905136",
            "updated_at": "2026-11-22T13:12:41.905136",
            "executed_at": None,
            "is_dry_run": False,
        },
        "execution_details": {
            "execution_latency_seconds": None,
            "fill_percentage": 0.0,
            "remaining_quantity": "0.00500000",
        },
        "rejection_reason": "Risk limit exceeded: Insufficient balance: required=459.59690 USDT, "
        "available=100.00000000 USDT, shortfall=359.59690000 USDT (78.24%)",
        "market_conditions": {
            "price": 92011.4,
            "spread": 0.2,
            "volume_24h": None,
            "volatility": 0.0003,
            "timestamp": "2026-11-22T13:12:41.791746+00:00",
        },
        "signal": {
            "signal_id": "fc91ae53-69d9-4c1d-9471-e19480ed967f",
            "signal_type": "buy",
            "asset": "BTCUSDT",
            "amount": 500.0,
            "confidence": 0.83,
            "strategy_id": "momentum_v1",
            "model_version": "v1765358102",
            "is_warmup": False,
        },
    },
    "cancelled": {
        "event_id": "4849e77c-2910-49e5-9ef9-5460638a32f6",
        "event_type": "cancelled",
        "timestamp": "2026-11-22T13:09:02.254375",
        "trace_id": "hdr-8b05ee68",
        "order": {
            "id": "d96accfb-98d7-4664-9336-93a707d860ad",
            "order_id": "EX-5a5983ea",
            "signal_id": "e5364e87-5963-4ed0-a534-8afdf76f03e3",
            "asset": "BTCUSDT",
            "side": "Buy",
            "order_type": "Limit",
            "quantity": "0.00100000",
            "price": "90000.00000000",
            "status": "cancelled",
            "filled_quantity": "0E-8",
            "average_price": None,
            "fees": None,
            "created_at": "2026-11-22T13:09:02.189652",
            "updated_at": "2026-11-22T13:09:02.253151",
            "executed_at": None,
            "is_dry_run": False,
        },
        "execution_details": {
            "execution_latency_seconds": None,
            "fill_percentage": 0.0,
            "remaining_quantity": "0.00100000",
        },
        "modification": {
            "before": {"status": "pending", "filled_quantity": "0E-8", "average_price": None},
            "after": {"status": "cancelled", "filled_quantity": "0E-8", "average_price": None},
        },
    },
    "partially_filled": {
        "event_id": "0ec1fe65-9971-4954-b80c-e2b831c8a3c0",
        "event_type": "partially_filled",
        "timestamp": "2026-11-22T13:10:48.314872",
        "trace_id": "283a7459-75fe-45c0-aa3a-aa6e0000e526",
        "order": {
            "id": "16c7d5ec-f3c5-43b8-a333-aca205f4c134",
            "order_id": "0175723c-9592-49ef-96a5-03c8b2af8ebb",
            "signal_id": "c683b253-3b2b-4559-bc9e-7f33fbd54b1e",
            "asset": "LTCUSDT",
            "side": "Buy",
            "order_type": "Limit",
            "quantity": "0.50000000",
            "price": "80.00000000",
            "status": "partially_filled",
            "filled_quantity": "0.20000000",
            "average_price": "80.50000000",
            "fees": "0.05000000",
            "created_at": "2026-11-22T13:10:46.484588",
            "updated_at": "2026-11-22T13:10:48.313196",
            "executed_at": None,
            "is_dry_run": False,
        },
        "execution_details": {
            "execution_latency_seconds": None,
            "fill_percentage": 40.0,
            "remaining_quantity": "0.30000000",
        },
        "market_conditions": {"price": 80.5, "timestamp": "2026-11-22T13:10:48.309701+00:00"},
    },
    "filled": {
        "event_id": "50ef5646-7ffb-4be8-ba9a-e5540a218f82",
        "event_type": "filled",
        "timestamp": "2026-11-22T13:10:51.721604",
        "trace_id": "14ac0ab6-990f-4997-b299-c8b9a66e2d93",
        "order": {
            "id": "16c7d5ec-f3c5-43b8-a333-aca205f4c134",
            "order_id": "0175723c-9592-49ef-96a5-03c8b2af8ebb",
            "signal_id": "c683b253-3b2b-4559-bc9e-7f33fbd54b1e",
            "asset": "LTCUSDT",
            "side": "Buy",
            "order_type": "Limit",
            "quantity": "0.50000000",
            "price": "80.00000000",
            "status": "filled",
            "filled_quantity": "0.50000000",
            "average_price": "80.50000000",
            "fees": "0.05000000",
            "created_at": "2026-11-22T13:10:46.484588",
            "updated_at": "2026-11-22T13:10:51.720089",
            "executed_at": "2026-11-22T13:10:51.719786",
            "is_dry_run": False,
        },
        "execution_details": {
            "execution_latency_seconds": 5.235198,
            "fill_percentage": 100.0,
            "remaining_quantity": "0E-8",
        },
        "market_conditions": {"price": 80.5, "timestamp": "2026-11-22T13:10:51.716798+00:00"},
    },
}

ORDERS_ROW_COLUMNS = [
    *("id", "order_id", "signal_id", "asset", "side", "order_type", "quantity", "price", "status"),
    *("filled_quantity", "average_price", "fees", "created_at", "updated_at", "executed_at", "trace_id"),
    *("is_dry_run", "rejection_reason"),
]


@pytest.mark.parametrize("name", ["rejected_by_execution", "rejected_by_risk"])
def test_a_rejection_is_announced_exactly_as_captured(name):
    captured = CAPTURED[name]
    order = as_rejected(_placed(captured), captured["rejection_reason"])

    event = rejected_event(order, _signal(captured), event_id=_event_id(captured), now=_sent_at(captured))

    assert _without_receipt_time(event) == _without_receipt_time(captured)
    assert list(event) == list(captured)


def test_a_cancellation_is_announced_exactly_as_captured():
    captured = CAPTURED["cancelled"]
    before = _placed(captured)
    after = cancelled(before, _moment(captured["order"]["updated_at"]))

    event = cancelled_event(
        before,
        after,
        trace_id=captured["trace_id"],
        event_id=_event_id(captured),
        now=_sent_at(captured),
    )

    assert event == captured


def test_fills_are_announced_exactly_as_captured():
    part, whole = CAPTURED["partially_filled"], CAPTURED["filled"]
    price = Decimal("80.5")
    first = filled(
        _placed(part), Decimal("0.2"), price, Decimal("0.05"), _moment(part["order"]["updated_at"])
    )
    last = filled(first, Decimal("0.3"), price, Decimal(0), _moment(whole["order"]["executed_at"]))

    assert _without_receipt_time(_announced(first, part)) == _without_receipt_time(part)
    assert _without_update_time(_announced(last, whole)) == _without_update_time(whole)


@pytest.mark.parametrize("name", CAPTURED)
def test_times_are_naive_except_in_market_conditions(name):
    captured = CAPTURED[name]

    assert _sent_at(captured).tzinfo is None
    if "market_conditions" in captured:
        assert _moment(captured["market_conditions"]["timestamp"]).tzinfo is not None


def test_the_orders_table_has_the_captured_columns_in_their_order():
    assert _columns("orders") == ORDERS_ROW_COLUMNS


@pytest.mark.parametrize(
    ("table", "read"),
    [
        ("account_balances", {"coin", "wallet_balance", "available_balance", "frozen", "received_at"}),
        ("account_balances", {"event_timestamp", "trace_id"}),
        ("account_margin_balances", {"total_available_balance", "received_at"}),
        ("instrument_info", {"symbol", "base_coin", "quote_coin", "lot_size", "min_order_qty"}),
        ("instrument_info", {"min_order_value", "price_tick_size"}),
        ("positions", {"id", "asset", "mode", "size", "average_entry_price", "current_price"}),
        ("positions", {"unrealized_pnl", "realized_pnl", "long_size", "short_size", "version"}),
        ("positions", {"last_updated", "closed_at", "created_at"}),
        ("signal_order_relationships", {"signal_id", "order_id"}),
    ],
)
def test_a_neighbours_table_has_every_column_that_is_read(table, read):
    assert read <= set(_columns(table))


def test_every_time_column_is_naive():
    schema = files("sandbox").joinpath("platform_schema.sql").read_text("utf-8")

    assert "timestamptz" not in schema
    assert "with time zone" not in schema.lower()


def _columns(table: str) -> list[str]:
    schema = files("sandbox").joinpath("platform_schema.sql").read_text("utf-8")
    found = re.search(rf"CREATE TABLE IF NOT EXISTS {table} \((.*?)\n\);", schema, re.DOTALL)
    assert found
    return re.findall(r"^    ([a-z_]+) [a-z]", found[1], re.MULTILINE)


def _placed(captured: Event) -> Order:
    order = captured["order"]
    price = Decimal(order["price"])
    plan = Plan(
        symbol=order["asset"],
        side=order["side"],
        order_type=order["order_type"],
        quantity=Decimal(order["quantity"]),
        price=price,
        reference_price=price,
        reduce_only=False,
    )
    return placed(
        plan,
        order_uuid=uuid.UUID(order["id"]),
        order_id=order["order_id"],
        signal_id=uuid.UUID(order["signal_id"]),
        trace_id=captured["trace_id"],
        now=_moment(order["created_at"]),
    )


def _signal(captured: Event) -> Signal:
    conditions = captured["market_conditions"]
    snapshot = {key: conditions[key] for key in ("price", "spread", "volume_24h", "volatility")}
    body = {**captured["signal"], "timestamp": conditions["timestamp"], "market_data_snapshot": snapshot}
    signal = validate(body)
    assert isinstance(signal, Signal)
    return signal


def _announced(order: Order, captured: Event) -> Event:
    return fill_event(
        order,
        Decimal("80.5"),
        trace_id=captured["trace_id"],
        event_id=_event_id(captured),
        now=_sent_at(captured),
    )


def _without_receipt_time(event: Event) -> Event:
    # When the market was looked at is a few milliseconds before the order's own time.
    return {**event, "market_conditions": {**event["market_conditions"], "timestamp": None}}


def _without_update_time(event: Event) -> Event:
    return _without_receipt_time({**event, "order": {**event["order"], "updated_at": None}})


def _event_id(captured: Event) -> uuid.UUID:
    return uuid.UUID(captured["event_id"])


def _sent_at(captured: Event) -> datetime:
    return _moment(captured["timestamp"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
