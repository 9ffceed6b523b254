"""Which entry a fill closes, and that no cent is made or lost by it."""

from collections import deque
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.core.fifo import Fill, booked, held
from trainer.core.performance import performance, plain

ZERO = Decimal(0)


def fill(quantity, price, fees="0"):
    return Fill(quantity=Decimal(quantity), value=abs(Decimal(quantity)) * Decimal(price), fees=Decimal(fees))


def after(*fills):
    """The book after all, and each booking."""
    lots, bookings = (), []
    for each in fills:
        bookings.append(booked(lots, each))
        lots = bookings[-1].lots
    return lots, bookings


@pytest.mark.parametrize(
    ("fills", "position", "realized"),
    [
        ([("1", "100")], "1", [None]),
        ([("1", "100"), ("1", "110")], "2", [None, None]),
        ([("1", "100"), ("-1", "110")], "0", [None, "10"]),
        ([("2", "100"), ("-0.5", "110"), ("-1.5", "90")], "0", [None, "5", "-15"]),  # closed in parts
        ([("1", "100"), ("1", "120"), ("-1", "130")], "1", [None, None, "30"]),  # the oldest goes first
        ([("1", "100"), ("1", "120"), ("-1.5", "130")], "0.5", [None, None, "35"]),
        ([("-1", "100"), ("1", "90")], "0", [None, "10"]),  # a short
        ([("-1", "100"), ("-1", "110"), ("2", "120")], "0", [None, None, "-30"]),
        ([("1", "100"), ("-3", "110"), ("2", "105")], "0", [None, "10", "10"]),  # flipped, then closed
        ([("-2", "100"), ("3", "90"), ("-1", "95")], "0", [None, "20", "5"]),
    ],
)
def test_a_fill_closes_the_oldest_lots_first(fills, position, realized):
    lots, bookings = after(*(fill(*each) for each in fills))

    assert held(lots) == Decimal(position)
    found = [None if each.realized_pnl is None else plain(each.realized_pnl) for each in bookings]
    assert found == realized


def test_fees_of_both_sides_are_in_by_their_share():
    _, bookings = after(fill("2", "100", "0.4"), fill("-0.5", "110", "0.06"), fill("-3", "110", "0.3"))

    opened, half, flipped = bookings
    assert opened.realized_pnl is None
    assert half.realized_pnl == Decimal(5) - Decimal("0.1") - Decimal("0.06")
    assert flipped.realized_pnl == Decimal(15) - Decimal("0.3") - Decimal("0.15")
    assert flipped.opened == Fill(quantity=Decimal("-1.5"), value=Decimal("165.0"), fees=Decimal("0.15"))


def test_a_reducing_fill_closes_what_there_is_and_opens_nothing():
    lots = (fill("1", "100"),)

    booking = booked(lots, fill("-3", "110"), may_open=False)

    assert (booking.lots, booking.opened, booking.unmatched) == ((), None, Decimal(2))
    assert booking.realized_pnl == 10
    assert booked((), fill("1", "100"), may_open=False).realized_pnl is None


def test_a_reducing_fill_never_adds_to_a_position():
    lots = (fill("1", "100"),)

    booking = booked(lots, fill("1", "110"), may_open=False)

    assert (booking.lots, booking.unmatched, booking.realized_pnl) == (lots, Decimal(1), None)


quantities = st.one_of(st.decimals("0.00000001", "5", places=8), st.decimals("-5", "-0.00000001", places=8))
fills_ = st.lists(
    st.builds(
        lambda quantity, price, fees: Fill(
            quantity=quantity, value=(abs(quantity) * price).quantize(Decimal("1e-12")), fees=fees
        ),
        quantities,
        st.decimals("0.0001", "100000", places=4),
        st.decimals("0", "10", places=8),
    ),
    max_size=30,
)


@given(fills_, st.decimals("0.0001", "100000", places=4))
def test_realized_and_open_profit_is_the_cash_flow_less_the_fees(fills, mark):
    lots, bookings = after(*fills)

    realized = sum((each.realized_pnl or ZERO for each in bookings), ZERO)
    unrealized = sum(
        ((lot.quantity * mark - lot.value.copy_sign(lot.quantity) - lot.fees) for lot in lots), ZERO
    )
    cash = sum((-each.value.copy_sign(each.quantity) - each.fees for each in fills), ZERO)
    position = sum((each.quantity for each in fills), ZERO)
    assert realized + unrealized == cash + position * mark  # exactly, whatever was divided
    assert held(lots) == position


@given(fills_)
def test_a_book_is_all_long_or_all_short_without_empty_lots(fills):
    lots, bookings = after(*fills)

    assert len({lot.quantity > 0 for lot in lots}) <= 1
    assert all(lot.quantity and lot.value >= 0 and lot.fees >= 0 for lot in lots)
    assert all(each.unmatched == 0 for each in bookings)


@given(
    st.lists(
        st.tuples(st.integers(-6, 6).filter(bool), st.integers(1, 50), st.integers(0, 5)),
        min_size=1,
        max_size=25,
    )
)
def test_it_agrees_with_a_book_that_holds_every_unit_by_itself(trades):
    units: deque[tuple[int, int, int]] = deque()  # sign, price, fee per unit
    expected = []
    for quantity, price, fee in trades:
        sign, gained = (1 if quantity > 0 else -1), None
        for _ in range(abs(quantity)):
            if units and units[0][0] != sign:
                side, entry, entry_fee = units.popleft()
                gained = (gained or 0) + side * (price - entry) - entry_fee - fee
            else:
                units.append((sign, price, fee))
        expected.append(gained)

    lots, bookings = after(
        *(fill(str(quantity), str(price), str(fee * abs(quantity))) for quantity, price, fee in trades)
    )

    assert [each.realized_pnl for each in bookings] == expected
    assert held(lots) == sum(sign for sign, _, _ in units)


def test_the_figures_beside_an_execution_say_what_was_closed_and_for_how_much():
    lots = (fill("1", "100", "0.1"), fill("1", "120", "0.12"))
    sold = fill("-1.5", "130", "0.195")

    figures = performance("EX-1", sold, booked(lots, sold), signal_price=Decimal(131))

    assert figures == {
        "order_id": "EX-1",
        "realized_pnl": "34.645",
        "return_pct": "21.653125",
        "fees": "0.355",
        "closed_quantity": "1.5",
        "opened_quantity": "0",
        "unmatched_quantity": "0",
        "entries": [
            {"quantity": "1", "price": "100", "fees": "0.1"},
            {"quantity": "0.5", "price": "120", "fees": "0.06"},
        ],
        "slippage_pct": "0.763359",
        "position": "0.5",
    }


def test_an_entry_is_neither_a_win_nor_a_loss():
    bought = fill("1", "100", "0.1")

    figures = performance("EX-1", bought, booked((), bought), signal_price=Decimal(99))

    assert (figures["realized_pnl"], figures["return_pct"], figures["entries"]) == (None, None, [])
    assert (figures["opened_quantity"], figures["position"]) == ("1", "1")
    assert figures["slippage_pct"] == "1.010101"


@pytest.mark.parametrize(
    ("number", "shown"),
    [("0E-8", "0"), ("0E+8", "0"), ("-0.000", "0"), ("1E+3", "1000"), ("100", "100"), ("1.50", "1.5")],
)
def test_decimals_are_shown_without_exponent(number, shown):
    assert plain(Decimal(number)) == shown
