"""Which executions are believed, and what is new of an order."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.core.execution_rules import (
    Booked,
    Executed,
    Invalid,
    OrderState,
    SentSignal,
    executed,
    news,
    order_state,
)

NOW = datetime(2026, 11, 22, 13, 11, tzinfo=UTC)
SIGNAL = SentSignal(
    signal_id=UUID("c683b253-3b2b-4559-bc9e-7f33fbd54b1e"),
    strategy_id="momentum",
    symbol="LTCUSDT",
    side="buy",
    price=Decimal("80.6"),
    timestamp=datetime(2026, 11, 22, 13, 10, 45, tzinfo=UTC),
    reduces_only=False,
    trace_id="t",
)
CAPTURED = json.loads(
    '{"id": "16c7d5ec-f3c5-43b8-a333-aca205f4c134", "order_id": "0175723c-9592-49ef-96a5-03c8b2af8ebb",'
    ' "signal_id": "c683b253-3b2b-4559-bc9e-7f33fbd54b1e", "asset": "LTCUSDT", "side": "Buy",'
    ' "order_type": "Limit", "quantity": "0.50000000", "price": "80.00000000", "status": "partially_filled",'
    ' "filled_quantity": "0.20000000", "average_price": "80.50000000", "fees": "0.05000000",'
    ' "created_at": "2026-11-22T13:10:46.484588", "updated_at": "2026-11-22T13:10:48.313196",'
    ' "executed_at": null, "is_dry_run": false}'
)
"""The order of a partially_filled event as the Order Manager really sent it."""


def judged(*, signal=SIGNAL, now=NOW, **changes):
    state = order_state({**CAPTURED, **changes})
    return state if isinstance(state, Invalid) else executed(state, signal, now=now)


def test_an_order_as_it_was_captured_is_believed():
    done = judged()

    assert done == Executed(
        order_id="0175723c-9592-49ef-96a5-03c8b2af8ebb",
        side="buy",
        quantity=Decimal("0.2"),
        value=Decimal("16.1"),
        fees=Decimal("0.05"),
        executed_at=datetime(
            2026, 11, 22, 13, 10, 48, 313196, tzinfo=UTC
        ),  # when it was told, for want of better
        updated_at=datetime(2026, 11, 22, 13, 10, 48, 313196, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"filled_quantity": 0.2, "quantity": 0.5, "average_price": 80.5, "fees": 0.05},  # numbers
        {"updated_at": "2026-11-22T13:10:48.313196Z"},
        {"updated_at": "2026-11-22T14:10:48.313196+01:00"},
        {"side": "BUY", "asset": "ltcusdt", "anything": {"else": [1]}, "is_dry_run": None},
        {"filled_quantity": "0.200000000004"},  # more decimals than any column holds
    ],
)
def test_the_same_order_may_be_written_in_other_ways(changes):
    assert judged(**changes) == judged()


def test_fees_that_are_not_known_yet_are_none_not_zero():
    assert judged(fees=None).fees is None
    assert judged(fees="0E-8").fees == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"order_id": ""}, "order_id"),
        ({"order_id": "x" * 101}, "order_id"),
        ({"order_id": "a\x00b"}, "order_id"),
        ({"signal_id": "no-uuid"}, "signal_id"),
        ({"signal_id": None}, "signal_id"),
        ({"quantity": "half"}, "quantity"),
        ({"filled_quantity": None}, "filled_quantity"),
        ({"average_price": []}, "average_price"),
        ({"updated_at": "yesterday"}, "updated_at"),
        ({"filled_quantity": "NaN"}, "filled_quantity is NaN, no number"),
        ({"average_price": "Infinity"}, "average_price is Infinity, no number"),
        ({"filled_quantity": "-0.2"}, "filled_quantity is -0.2, below 0"),
        ({"fees": "-0.05"}, "fees is -0.05, below 0"),
        ({"quantity": "1e999999"}, "quantity is out of range"),
        ({"filled_quantity": "1e12", "quantity": "1e11"}, "filled_quantity is out of range"),
        ({"filled_quantity": "0.7"}, "filled_quantity 0.7 is more than quantity 0.50000000"),
        ({"filled_quantity": "0", "status": "filled"}, "status is filled, but nothing is filled"),
        ({"filled_quantity": "1e-9"}, "status is partially_filled, but nothing is filled"),
        ({"status": "rejected"}, "status is rejected, but something is filled"),
        ({"average_price": None}, "average_price is missing"),
        ({"average_price": "0"}, "average_price 0 is out of range: its signal saw 80.6"),
        ({"average_price": "8050"}, "average_price 8050 is out of range"),
        ({"fees": "17"}, "fees 17 are more than the filled value"),
        ({"side": "SELL"}, "side is SELL, its signal said buy"),
        ({"asset": "BTCUSDT"}, "asset is BTCUSDT, its signal said LTCUSDT"),
        ({"executed_at": "2026-11-22T13:13:00"}, "executed_at 2026-11-22T13:13:00+00:00 is in the future"),
        ({"updated_at": "2026-11-22T12:00:00"}, "updated_at 2026-11-22T12:00:00+00:00 is before its signal"),
    ],
)
def test_what_breaks_a_rule_is_invalid_and_the_rule_is_named(changes, reason):
    found = judged(**changes)

    assert isinstance(found, Invalid)
    assert reason in found.reason


def test_every_broken_rule_is_named():
    found = judged(side="SELL", asset="BTCUSDT", average_price="1")

    assert found.reason.count("; ") == 2


@pytest.mark.parametrize(
    ("changes", "claims"),
    [
        ({}, True),
        ({"status": "cancelled"}, True),  # what was filled before it stays filled
        ({"filled_quantity": "0E-8", "status": "cancelled"}, False),
        ({"filled_quantity": "0", "status": "rejected"}, False),
        ({"filled_quantity": "0", "status": "filled"}, True),  # a contradiction, for the rules
        ({"filled_quantity": "NaN"}, True),
        ({"is_dry_run": True}, False),
        ({"filled_quantity": "0", "status": "dry_run", "is_dry_run": True}, False),
    ],
)
def test_an_order_has_executed_where_something_was_really_traded(changes, claims):
    assert order_state({**CAPTURED, **changes}).has_executed is claims


def done(quantity, price, fees="0", side="buy"):
    return Executed(
        order_id="EX-1",
        side=side,
        quantity=Decimal(quantity),
        value=Decimal(quantity) * Decimal(price),
        fees=None if fees is None else Decimal(fees),
        executed_at=NOW,
        updated_at=NOW,
    )


def booked(quantity, value, fees="0"):
    return Booked(quantity=Decimal(quantity), value=Decimal(value), fees=Decimal(fees))


@pytest.mark.parametrize(
    ("state", "before", "fill"),
    [
        (done("0.2", "80.5", "0.05"), booked("0", "0"), ("0.2", "16.1", "0.05")),
        (done("0.5", "80.5", "0.12"), booked("0.2", "16.1", "0.05"), ("0.3", "24.15", "0.07")),
        (done("0.5", "82", "0.12", "sell"), booked("0.2", "16.1", "0.05"), ("-0.3", "24.9", "0.07")),
        (done("0.5", "80.5", None), booked("0.2", "16.1", "0.05"), ("0.3", "24.15", "0")),
        (done("0.2", "80.5", "0.05"), booked("0.2", "16.1", "0.05"), None),  # told twice
        (done("0.2", "80.5", "0.05"), booked("0.5", "40.25", "0.12"), None),  # told late
    ],
)
def test_only_what_is_new_of_an_order_is_a_fill(state, before, fill):
    found = news(state, before)

    assert (found and (found.quantity, found.value, found.fees)) == (fill and tuple(map(Decimal, fill)))


@pytest.mark.parametrize(
    ("state", "before", "reason"),
    [
        (done("0.5", "10"), booked("0.2", "16.1"), "the filled value went from 16.1 to 5.0"),
        (done("0.5", "32.2"), booked("0.2", "16.1"), "no price in that"),
        (done("0.5", "80", "0.01"), booked("0.2", "16.1", "0.05"), "the fees fell from 0.05 to 0.01"),
    ],
)
def test_cumulative_figures_that_fall_are_invalid(state, before, reason):
    found = news(state, before)

    assert isinstance(found, Invalid)
    assert reason in found.reason


def test_an_execution_has_one_id_whoever_tells_it():
    ids = {judged(filled_quantity=each).execution_id for each in ("0.2", 0.2, "0.20000000", "2E-1")}

    assert len(ids) == 1
    assert judged(filled_quantity="0.3").execution_id not in ids
    assert judged(order_id="other").execution_id not in ids


parts = st.lists(
    st.tuples(st.decimals("0.00000001", "5", places=8), st.decimals("50", "150", places=4)),
    min_size=1,
    max_size=8,
)


@given(parts, st.data())
def test_all_fills_of_an_order_add_up_to_it_whichever_states_were_seen(parts, data):
    whole = sum((quantity for quantity, _ in parts), Decimal(0))
    states, quantity, value = [], Decimal(0), Decimal(0)
    for size, price in parts:
        quantity, value = quantity + size, value + size * price
        told = {**CAPTURED, "quantity": whole, "filled_quantity": quantity, "fees": value / 1000}
        states.append(order_state({**told, "average_price": (value / quantity).quantize(Decimal("1e-8"))}))
    seen = [*data.draw(st.lists(st.sampled_from(states), max_size=12)), states[-1]]

    before, fills = Booked(), []
    for state in seen:
        believed = executed(state, msgspec.structs.replace(SIGNAL, price=Decimal(100)), now=NOW)
        fill = news(believed, before)
        if isinstance(fill, Invalid):  # the average's own rounding, on a difference of next to nothing
            continue
        if fill is not None:
            fills.append(fill)
            before = Booked(quantity=believed.quantity, value=believed.value, fees=believed.fees)

    last = executed(states[-1], msgspec.structs.replace(SIGNAL, price=Decimal(100)), now=NOW)
    assert sum(each.quantity for each in fills) == before.quantity
    assert sum(each.value for each in fills) == before.value
    assert sum(each.fees for each in fills) == before.fees
    assert before.quantity == last.quantity or isinstance(news(last, before), Invalid)


@given(
    st.dictionaries(
        st.sampled_from(sorted(CAPTURED)),
        st.one_of(
            st.none(), st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.just("-1e400")
        ),
    )
)
def test_no_corruption_raises(changes):
    state = order_state({**CAPTURED, **changes})

    assert isinstance(state, (OrderState, Invalid))
    if isinstance(state, OrderState):
        assert isinstance(executed(state, SIGNAL, now=NOW + timedelta(days=1)), (Executed, Invalid))
