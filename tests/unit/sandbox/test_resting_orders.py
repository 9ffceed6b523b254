"""How much of an order trades at a price, and what of it is left."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from sandbox.core.orders import Order, cancelled, crosses, filled, tradable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).replace(tzinfo=None)
LATER = NOON + timedelta(seconds=3)
LOT = Decimal("0.01")


def order(side="Buy", **changes):
    values = {
        "id": UUID(int=1),
        "order_id": "o-1",
        "signal_id": UUID(int=2),
        "symbol": "ETHUSDT",
        "side": side,
        "order_type": "Limit",
        "quantity": Decimal("1.00"),
        "price": Decimal(100),
        "status": "pending",
        "created_at": NOON,
        "updated_at": NOON,
        "trace_id": "t",
        "reduce_only": False,
        "reference_price": Decimal(100),
    }
    return Order(**{**values, **changes})


@pytest.mark.parametrize(
    ("side", "mid", "trades"),
    [("Buy", 99, True), ("Buy", 100, False), ("Buy", 101, False), ("Sell", 101, True), ("Sell", 100, False)],
)
def test_a_limit_order_trades_only_through_its_price(side, mid, trades):
    assert tradable(order(side), Decimal(mid), Decimal(0), LOT, Decimal(1_000)) == (
        Decimal(1) if trades else Decimal(0)
    )


@pytest.mark.parametrize(
    ("quantity", "above", "expected"),
    [
        ("1.00", 100, "1.00"),  # exactly at the limit: whole
        ("1.01", 100, "0.40"),  # 40 % of 1.01, floored to the lot
        ("0.02", 1, "0.01"),  # 40 % would be less than a lot
    ],
)
def test_a_large_limit_order_trades_in_parts_of_whole_lots(quantity, above, expected):
    assert tradable(
        order(quantity=Decimal(quantity)), Decimal(99), Decimal(0), LOT, Decimal(above)
    ) == Decimal(expected)


def test_the_last_part_is_what_is_left():
    resting = order(quantity=Decimal("1.00"), filled_quantity=Decimal("0.80"), status="partially_filled")

    assert tradable(resting, Decimal(99), Decimal(0), LOT, Decimal(1)) == Decimal("0.20")


def test_a_market_order_trades_whole_at_any_price():
    assert tradable(order(price=None), Decimal(10_000), Decimal(0), LOT, Decimal(1)) == Decimal("1.00")


@pytest.mark.parametrize("held", ["0.3", "-0.3"])
def test_a_reducing_order_trades_no_more_than_the_position(held):
    assert tradable(
        order(price=None, reduce_only=True), Decimal(99), Decimal(held), LOT, Decimal(1)
    ) == Decimal("0.3")


@pytest.mark.parametrize(
    ("side", "price", "does"),
    [
        ("Buy", "100.49", False),
        ("Buy", "100.5", True),
        ("Buy", "101", True),
        ("Sell", "99.51", False),
        ("Sell", "99.5", True),
        ("Sell", "99", True),
    ],
)
def test_a_limit_order_crosses_at_the_other_side_of_the_book(side, price, does):
    assert crosses(order(side, price=Decimal(price)), Decimal(100), Decimal("0.01")) is does


def test_a_market_order_has_no_price_to_cross_with():
    assert crosses(order(price=None), Decimal(100), Decimal("0.01")) is False


def test_fills_add_up_to_an_average_and_end_the_order():
    half = filled(order(), Decimal("0.40"), Decimal(99), Decimal("0.1"), LATER)
    whole = filled(half, Decimal("0.60"), Decimal(98), Decimal("0.2"), LATER)

    assert (half.status, half.filled_quantity, half.average_price, half.executed_at) == (
        "partially_filled",
        Decimal("0.40"),
        Decimal(99),
        None,
    )
    assert (whole.status, whole.average_price, whole.fees) == ("filled", Decimal("98.4"), Decimal("0.3"))
    assert whole.executed_at == whole.updated_at == LATER
    assert (half.is_open, whole.is_open) == (True, False)
    assert (half.reserved_quote, whole.reserved_quote) == (Decimal(60), Decimal(0))


def test_a_cancelled_order_keeps_what_was_filled():
    gone = cancelled(filled(order(), Decimal("0.40"), Decimal(99), Decimal(0), NOON), LATER)

    assert (gone.status, gone.filled_quantity, gone.updated_at) == ("cancelled", Decimal("0.40"), LATER)
    assert gone.reserved_quote == Decimal(0)


def test_what_reduces_a_position_reserves_nothing():
    assert order(reduce_only=True).reserved_quote == Decimal(0)
