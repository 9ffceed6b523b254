"""What fills make of a position, and how events are turned into fills."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.core.positions import (
    Booked,
    Executed,
    Fill,
    Position,
    after_fill,
    executed,
    news,
    portfolio,
    position_updated,
)

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
ID = uuid.UUID("c2da134c-8f60-4d82-9fdc-0300004d9136")
fills = st.builds(
    Fill,
    change=st.one_of(st.decimals("0.001", "2", places=3), st.decimals("-2", "-0.001", places=3)),
    price=st.decimals("1", "100000", places=2),
)


def after(*changes: tuple[str, str]) -> Position:
    position = Position(id=ID, symbol="BTCUSDT", last_updated=NOW, created_at=NOW)
    for number, (change, price) in enumerate(changes, start=1):
        fill = Fill(change=Decimal(change), price=Decimal(price))
        position = after_fill(position, fill, NOW + timedelta(minutes=number))
    return position


@pytest.mark.parametrize(
    ("changes", "size", "entry", "realized"),
    [
        ([("0.05", "92000.5")], "0.05000000", "92000.50000000", "0E-8"),
        ([("1", "100"), ("3", "200")], "4.00000000", "175.00000000", "0E-8"),
        ([("-1", "100"), ("-1", "110")], "-2.00000000", "105.00000000", "0E-8"),
        ([("2", "100"), ("-1", "110")], "1.00000000", "100.00000000", "10.00000000"),
        ([("-2", "100"), ("0.5", "110")], "-1.50000000", "100.00000000", "-5.00000000"),
        ([("0.05", "92000.5"), ("-0.05", "92498")], "0E-8", None, "24.87500000"),
        ([("-1", "100"), ("1", "90")], "0E-8", None, "10.00000000"),
        ([("1", "100"), ("-3", "110")], "-2.00000000", "110.00000000", "10.00000000"),  # flipped
        ([("-1", "100"), ("3", "110")], "2.00000000", "110.00000000", "-10.00000000"),
        ([("1", "100"), ("-1", "110"), ("1", "50")], "1.00000000", "50.00000000", "10.00000000"),
    ],
)
def test_size_entry_and_realized_pnl_follow_the_fills(changes, size, entry, realized):
    position = after(*changes)

    shown_entry = None if position.average_entry_price is None else str(position.average_entry_price)
    assert (str(position.size), shown_entry, str(position.realized_pnl)) == (size, entry, realized)
    assert position.version == len(changes)


@given(st.lists(fills, max_size=10), st.decimals("1", "100000", places=2))
def test_realized_and_open_profit_is_what_was_traded(booked, price):
    position = Position(id=ID, symbol="BTCUSDT", last_updated=NOW, created_at=NOW)
    for fill in booked:
        position = after_fill(position, fill, NOW)

    open_profit = position.size * (price - (position.average_entry_price or 0))
    made = sum(fill.change * (price - fill.price) for fill in booked)
    assert abs(position.realized_pnl + open_profit - made) < Decimal("1e-5")
    assert position.size == sum(fill.change for fill in booked)
    assert (position.average_entry_price is None) == (position.size == 0) == (not position.size)


def test_a_closed_row_is_used_again_under_its_id_and_age():
    closed = after(("1", "100"), ("-1", "110"))
    reopened = after(("1", "100"), ("-1", "110"), ("-2", "90"))

    assert closed.closed_at == NOW + timedelta(minutes=2)
    assert reopened.closed_at is None
    assert (reopened.id, reopened.created_at) == (ID, NOW)
    assert reopened.realized_pnl == Decimal(10)
    assert position_updated(reopened, NOW + timedelta(minutes=61))["time_held_minutes"] == 61


def test_pnl_is_never_recomputed():
    position = after(("1", "100"), ("1", "200"))

    assert str(position.unrealized_pnl) == "0E-8"
    assert str(position.unrealized_pnl_pct) == "0E+8"
    assert after(("1", "100"), ("-1", "200")).unrealized_pnl_pct is None


def order(quantity, price, order_id="o-1", side="Buy"):
    return Executed(
        order_id=order_id,
        symbol="BTCUSDT",
        side=side,
        quantity=Decimal(quantity),
        average_price=Decimal(price),
    )


@pytest.mark.parametrize(
    ("now", "booked", "change", "price"),
    [
        (order("0.2", "80.5"), ("0", "0"), "0.2", "80.5"),
        (order("0.5", "80.5"), ("0.2", "16.1"), "0.3", "80.5"),  # cumulative: 0.2 are in already
        (order("0.4", "95"), ("0.2", "18"), "0.2", "100"),  # the parts in between were silent
        (order("0.2", "80.5", side="SELL"), ("0", "0"), "-0.2", "80.5"),
    ],
)
def test_only_what_is_new_of_an_order_is_booked(now, booked, change, price):
    fill = news(now, Booked(quantity=Decimal(booked[0]), notional=Decimal(booked[1])))

    assert fill == Fill(change=Decimal(change), price=Decimal(price))


@pytest.mark.parametrize("quantity", ["0.5", "0.2"])
def test_an_event_that_repeats_or_comes_late_brings_nothing_new(quantity):
    assert news(order(quantity, "80"), Booked(quantity=Decimal("0.5"), notional=Decimal(40))) is None


def event(**order_fields: object) -> dict[str, object]:
    fields = {
        "order_id": "0175723c",
        "asset": "LTCUSDT",
        "side": "Buy",
        "filled_quantity": "0.50000000",
        "average_price": "80.50000000",
        **order_fields,
    }
    return {"event_type": "filled", "order": fields, "market_conditions": {"price": 81.25}}


@pytest.mark.parametrize(
    ("fields", "side", "price"),
    [
        ({}, "Buy", "80.5"),
        ({"side": "SELL"}, "SELL", "80.5"),
        ({"side": "Sell"}, "SELL", "80.5"),
        ({"average_price": None}, "Buy", "81.25"),
        ({"average_price": 80.5, "filled_quantity": 0.5}, "Buy", "80.5"),
    ],
)
def test_an_order_event_says_how_much_is_filled_and_at_what_price(fields, side, price):
    found = executed(event(**fields))

    assert found is not None
    assert (found.symbol, found.side, found.quantity) == ("LTCUSDT", side, Decimal("0.5"))
    assert found.average_price == Decimal(price)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {"order": None},
        {"order": {}},
        event(filled_quantity="0E-8"),
        event(filled_quantity="many"),
        event(average_price="-1"),
        event(filled_quantity="NaN"),
        {**event(average_price=None), "market_conditions": None},
    ],
)
def test_an_event_without_a_fill_changes_nothing(wrong):
    assert executed(wrong) is None


def test_the_portfolio_has_no_exposure_without_prices():
    rows = [after(("1", "100")), after(("-2", "90")), after(("1", "100"), ("-1", "110"))]

    total = portfolio(rows, NOW)

    assert total["total_exposure_usdt"] == 0
    assert total["total_realized_pnl_usdt"] == 10
    assert [total[f"{kind}_positions_count"] for kind in ("open", "long", "short")] == [2, 1, 1]
