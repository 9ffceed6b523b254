import copy
import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.core.order_rules import (
    Instrument,
    Malformed,
    Plan,
    Signal,
    exchange_refusal,
    limit_price,
    order_quantity,
    order_type,
    plan_order,
    risk_rejection,
    validate,
)

ENTRY: dict[str, Any] = json.loads(
    """{"signal_id": "6f99c1e2-6aab-465d-9a58-c9e1e055ed94", "signal_type": "buy", "asset": "BTCUSDT",
    "amount": 250.0, "confidence": 0.83, "timestamp": "2026-11-22T13:02:35.194230Z",
    "strategy_id": "momentum_v1", "model_version": "v1765358102", "is_warmup": false,
    "market_data_snapshot": {"price": 92011.4, "spread": 0.2, "volume_24h": null, "volatility": 0.0003,
    "orderbook_depth": null, "technical_indicators": null},
    "metadata": {"reasoning": "p_up=0.83"}, "trace_id": "body-trace"}"""
)
BTC = Instrument(
    symbol="BTCUSDT",
    base_coin="BTC",
    quote_coin="USDT",
    lot_size=Decimal("0.001"),
    min_order_qty=Decimal("0.001"),
    min_order_value=Decimal(5),
    price_tick_size=Decimal("0.01"),
)
CAP = Decimal(1000)
MISSING = object()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def changed(path: str, value: object) -> dict[str, Any]:
    body = copy.deepcopy(ENTRY)
    *parents, name = path.split(".")
    target = body
    for parent in parents:
        target = target[parent]
    if value is MISSING:
        del target[name]
    else:
        target[name] = value
    return body


def signal(**changes: object) -> Signal:
    body = copy.deepcopy(ENTRY)
    for path, value in changes.items():
        (body["market_data_snapshot"] if path in body["market_data_snapshot"] else body)[path] = value
    read = validate(body)
    assert isinstance(read, Signal)
    return read


def plan(**changes: object) -> Plan:
    return plan_order(signal(**changes), Decimal(0), BTC, CAP)


def test_the_captured_entry_is_read_as_it_was_sent():
    read = validate(ENTRY)

    assert read == Signal(
        signal_id=uuid.UUID("6f99c1e2-6aab-465d-9a58-c9e1e055ed94"),
        signal_type="buy",
        symbol="BTCUSDT",
        amount_quote=Decimal("250.0"),
        confidence=Decimal("0.83"),
        timestamp=datetime(2026, 11, 22, 13, 2, 35, 194230, tzinfo=UTC),
        strategy_id="momentum_v1",
        model_version="v1765358102",
        is_warmup=False,
        price=Decimal("92011.4"),
        spread_pct=Decimal("0.2"),
        volume_24h=None,
        volatility=Decimal("0.0003"),
        urgency=False,
        is_exit=False,
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("asset", "btcusdt"),
        ("asset", "ABCD"),
        ("asset", "A" * 20),
        ("amount", 0.01),
        ("amount", 250),
        ("confidence", 0),
        ("confidence", 1),
        ("timestamp", "2026-11-22T13:02:35"),
        ("timestamp", "2026-11-22T13:02:35+02:00"),
        ("strategy_id", "s" * 100),
        ("model_version", None),
        ("model_version", "v" * 50),
        ("model_version", MISSING),
        ("is_warmup", MISSING),
        ("is_warmup", True),
        ("metadata", None),
        ("metadata", MISSING),
        ("trace_id", None),
        ("trace_id", MISSING),
        ("trace_id", "t" * 500),
        ("unknown", [1, 2]),
        ("market_data_snapshot.spread", MISSING),
        ("market_data_snapshot.spread", 0),
        ("market_data_snapshot.orderbook_depth", {"bids": []}),
        ("market_data_snapshot.technical_indicators", {}),
    ],
)
def test_a_signal_within_the_rules_is_read(path, value):
    assert isinstance(validate(changed(path, value)), Signal)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("signal_id", MISSING, "signal_id"),
        ("signal_id", "not-a-uuid", "signal_id"),
        ("signal_id", 7, "signal_id"),
        ("signal_type", "BUY", "signal_type"),
        ("signal_type", "hold", "signal_type"),
        ("asset", "BTC", "asset"),
        ("asset", "A" * 21, "asset"),
        ("asset", "BTC/USDT", "asset"),
        ("asset", "ÄTHUSDT", "asset"),
        ("amount", 0.0099, "amount"),
        ("amount", -5, "amount"),
        ("amount", "250", "amount"),
        ("amount", True, "amount"),
        ("amount", None, "amount"),
        ("amount", float("nan"), "amount"),
        ("amount", float("inf"), "amount"),
        ("amount", 10**400, "amount"),
        ("confidence", 1.0001, "confidence"),
        ("confidence", -0.1, "confidence"),
        ("confidence", float("nan"), "confidence"),
        ("timestamp", 1765358102, "timestamp"),
        ("timestamp", "yesterday", "timestamp"),
        ("timestamp", MISSING, "timestamp"),
        ("strategy_id", "", "strategy_id"),
        ("strategy_id", "s" * 101, "strategy_id"),
        ("strategy_id", MISSING, "strategy_id"),
        ("model_version", "v" * 51, "model_version"),
        ("model_version", 3, "model_version"),
        ("is_warmup", "false", "is_warmup"),
        ("is_warmup", None, "is_warmup"),
        ("metadata", "urgent", "metadata"),
        ("metadata", [], "metadata"),
        ("trace_id", 5, "trace_id"),
        ("market_data_snapshot", MISSING, "market_data_snapshot"),
        ("market_data_snapshot", None, "market_data_snapshot"),
        ("market_data_snapshot.price", MISSING, "price"),
        ("market_data_snapshot.price", 0, "price"),
        ("market_data_snapshot.price", -1.0, "price"),
        ("market_data_snapshot.price", "92011.4", "price"),
        ("market_data_snapshot.price", float("nan"), "price"),
        ("market_data_snapshot.spread", -0.01, "spread"),
        ("market_data_snapshot.volume_24h", -1, "volume_24h"),
        ("market_data_snapshot.volatility", "0.1", "volatility"),
        ("market_data_snapshot.orderbook_depth", [], "orderbook_depth"),
        ("market_data_snapshot.technical_indicators", 1, "technical_indicators"),
    ],
)
def test_a_signal_outside_the_rules_is_malformed_and_the_field_is_named(path, value, named):
    read = validate(changed(path, value))

    assert isinstance(read, Malformed)
    assert named in read.reason


@given(json_values)
def test_no_json_value_makes_the_validation_raise(body):
    assert isinstance(validate(body), Malformed)


@given(st.sampled_from([*ENTRY, *(f"market_data_snapshot.{name}" for name in ENTRY["market_data_snapshot"])]),
       json_values)  # fmt: skip
def test_no_value_in_any_field_makes_the_validation_raise(path, value):
    assert isinstance(validate(changed(path, value)), Signal | Malformed)


@pytest.mark.parametrize(
    ("confidence", "spread_pct", "urgency", "expected"),
    [
        ("0.9", "0.2", False, "Limit"),  # exactly 0.9 is not above
        ("0.90001", "0.2", False, "Market"),
        ("0.5", "0.1", False, "Market"),  # percent: 0.1 is tight
        ("0.5", "0.1001", False, "Limit"),
        ("0.5", None, False, "Market"),  # null counts as 0
        ("0.5", "0", False, "Market"),
        ("0.1", "5", True, "Market"),
    ],
)
def test_order_type_follows_confidence_spread_and_urgency(confidence, spread_pct, urgency, expected):
    spread = None if spread_pct is None else Decimal(spread_pct)

    assert order_type(Decimal(confidence), spread, urgency=urgency) == expected


@pytest.mark.parametrize(
    ("urgency", "expected"), [(True, "Market"), (1, "Limit"), ("true", "Limit"), (False, "Limit")]
)
def test_only_json_true_is_urgent(urgency, expected):
    assert plan(metadata={"urgency": urgency}).order_type == expected


def test_a_limit_order_rests_a_tenth_of_a_percent_on_its_own_side_as_captured():
    price, tick = Decimal("92011.4"), Decimal("0.01")

    assert limit_price("Buy", price, tick) == Decimal("91919.38")
    assert limit_price("SELL", price, tick) == Decimal("92103.42")


@pytest.mark.parametrize(
    ("amount", "price", "expected"),
    [
        ("250", "92011.4", "0.002"),  # captured: floored to the lot
        ("500", "92011.4", "0.005"),
        ("3", "92011.4", "0.001"),  # raised: 3 USDT buy 92 USDT
        ("0.01", "100", "0.05"),  # raised to 5 USDT
        ("5", "2400", "0.003"),  # 5 USDT are not a whole number of lots: raised, never below the minimum
        ("1000", "1000", "1"),  # at the cap, not above
        ("1000.5", "1000", "1"),  # the floored quantity counts, not the amount
    ],
)
def test_quantity_is_floored_to_the_lot_and_raised_to_the_minimum(amount, price, expected):
    assert order_quantity(Decimal(amount), Decimal(price), BTC, CAP) == Decimal(expected)


def test_above_the_cap_the_quantity_leaves_the_lot_step_and_the_exchange_refuses_it():
    shrunk = order_quantity(Decimal(9000), Decimal("92011.4"), BTC, Decimal(5000))
    refusal = exchange_refusal(plan(amount=1500.0), BTC, Decimal(100_000), Decimal(0))

    assert str(shrunk) == "0.05434109251679683169694190068"  # captured
    assert refusal is not None
    assert refusal.startswith("Order execution failed: ")
    assert "Qty invalid" in refusal


@given(
    st.decimals("0.01", "1000000", places=2),
    st.decimals("0.0001", "200000", places=4),
    st.sampled_from(["0.001", "0.01", "0.1", "1"]),
)
def test_an_order_never_costs_more_than_the_larger_of_amount_cap_and_minimum(amount, price, lot):
    lot_size = Decimal(lot)
    rules = Instrument(
        symbol="XUSDT",
        base_coin="X",
        quote_coin="USDT",
        lot_size=lot_size,
        min_order_qty=lot_size,
        min_order_value=Decimal(5),
        price_tick_size=Decimal("0.01"),
    )

    quantity = order_quantity(amount, price, rules, CAP)

    assert quantity > 0
    assert quantity * price <= min(max(amount, 5 + lot_size * price), CAP) + Decimal("1e-18")


@pytest.mark.parametrize(
    ("signal_type", "size", "reduces"),
    [
        ("sell", "0.05", True),
        ("sell", "0", False),
        ("sell", "-0.05", False),
        ("buy", "-0.05", True),
        ("buy", "0", False),
        ("buy", "0.05", False),
    ],
)
def test_reduce_only_is_set_only_against_a_position_of_the_other_side(signal_type, size, reduces):
    planned = plan_order(signal(signal_type=signal_type), Decimal(size), BTC, CAP)

    assert planned.reduce_only is reduces


def test_insufficient_balance_reads_as_captured():
    reason = risk_rejection(plan(amount=500.0), Decimal(0), Decimal("100.00000000"), Decimal(2))

    assert reason == (
        "Risk limit exceeded: Insufficient balance: required=459.59690 USDT, available=100.00000000 USDT, "
        "shortfall=359.59690000 USDT (78.24%)"
    )


def test_a_sell_without_a_long_needs_margin():
    reason = risk_rejection(plan(signal_type="sell"), Decimal(0), Decimal(100), Decimal(2))

    assert reason is not None
    assert reason.startswith("Risk limit exceeded: Insufficient margin: required=184.")
    assert risk_rejection(plan(signal_type="sell"), Decimal(0), Decimal(1000), Decimal(2)) is None


def test_the_position_limit_is_in_base_units_so_a_cheap_asset_is_refused_at_its_minimum():
    cheap = plan(amount=5.0, price=2.49)
    dearer = plan(amount=5.0, price=2.5)

    reason = risk_rejection(cheap, Decimal(0), Decimal(1000), Decimal(2))

    assert reason is not None
    assert reason.startswith("Risk limit exceeded: Position size would exceed limit")
    assert risk_rejection(dearer, Decimal(0), Decimal(1000), Decimal(2)) is None


def test_what_is_held_counts_towards_the_position_limit():
    assert risk_rejection(plan(), Decimal("1.998"), Decimal(1000), Decimal(2)) is None
    assert risk_rejection(plan(), Decimal("1.999"), Decimal(1000), Decimal(2)) is not None


def test_a_reducing_order_passes_without_a_balance_and_above_the_position_limit():
    exit_plan = plan_order(signal(signal_type="sell"), Decimal(3), BTC, CAP)

    assert risk_rejection(exit_plan, Decimal(3), Decimal(0), Decimal(2)) is None
    assert exchange_refusal(exit_plan, BTC, Decimal(0), Decimal("0.0015")) is None


def test_the_exchange_wants_fee_and_slippage_on_top_of_the_notional():
    order = plan(amount=950.0, price=95.0, spread=None)

    assert risk_rejection(order, order.quantity * -1, Decimal(950), Decimal(20)) is None
    assert "110007" in (exchange_refusal(order, BTC, Decimal(950), Decimal("0.0015")) or "")
    assert exchange_refusal(order, BTC, Decimal(952), Decimal("0.0015")) is None


@given(
    st.floats(0.01, allow_infinity=False, allow_nan=False),
    st.floats(0, exclude_min=True, allow_infinity=False, allow_nan=False),
    st.sampled_from(["buy", "sell"]),
)
def test_every_readable_signal_becomes_an_order_that_is_judged(amount, price, side):
    planned = plan_order(signal(amount=amount, price=price, signal_type=side), Decimal(0), BTC, CAP)

    reasons = {
        risk_rejection(planned, Decimal(0), Decimal(100_000), Decimal(2)),
        exchange_refusal(planned, BTC, Decimal(100_000), Decimal("0.0015")),
    }
    assert all(reason is None or reason.startswith(("Risk limit", "Order execution")) for reason in reasons)
