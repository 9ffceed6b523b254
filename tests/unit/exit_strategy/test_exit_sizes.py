"""How much of a position an exit closes, and in which parts."""

from datetime import timedelta
from decimal import ROUND_FLOOR, Decimal

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.exit_strategy.book import START, long
from tests.unit.exit_strategy.flights import (
    HALVES,
    JUST,
    LIMITS,
    LOTS,
    flight,
    in_flight,
    latched,
    of_stage_one,
    paced,
    sends,
)

from common.core.exits.dispatch import (
    AMOUNT_STEP,
    Answer,
    Done,
    Instrument,
    Traffic,
    Wait,
    amount_quote,
    dispatch,
    part_of,
)
from common.core.exits.holds import Hold
from common.core.exits.rules import Rules


def test_a_stage_closes_its_share_floored_to_the_lot():
    position = latched(long(size="1.555"), rule="take_profit", stage=1)

    assert sends(position, of=HALVES).size == Decimal("0.777")


def test_a_stage_that_would_leave_dust_closes_everything():
    position = latched(long(size="0.1"), rule="take_profit", stage=1)

    assert sends(position, of=HALVES).size == Decimal("0.1")


def test_a_stage_is_done_when_its_size_was_filled():
    half = of_stage_one(Answer.FILLED, "0.5")
    position = in_flight(position=long(size="0.5"), rule="take_profit", stage=1)

    assert sends(position, half, 1, of=HALVES) == Done()


def test_a_filled_stage_is_done_whatever_its_pace_is():
    half = of_stage_one(Answer.FILLED, "0.5")
    crowded = msgspec.structs.replace(half, published_exits=(JUST, JUST), newest_entry_at=START)
    position = in_flight(position=long(size="0.5"), rule="take_profit", stage=1, last_exit_at=JUST)

    assert paced(position, crowded) == Done()


def test_a_rest_of_a_stage_that_can_be_sent_is_not_done():
    nearly = of_stage_one(Answer.FILLED, "0.4")
    position = in_flight(position=long(size="0.6"), rule="take_profit", stage=1)

    assert sends(position, nearly, 1, of=HALVES).size == Decimal("0.1")


def test_a_stage_cancelled_half_way_closes_only_the_rest_of_it():
    half = of_stage_one(Answer.REFUSED, "0.2")
    position = in_flight(position=long(size="0.8"), rule="take_profit", stage=1)

    assert sends(position, half, 15, of=HALVES).size == Decimal("0.3")


def test_a_refused_exit_says_when_it_is_tried_again():
    refused = Wait(reason=Hold.EXIT_REFUSED, until=START + timedelta(seconds=15))

    assert sends(in_flight(), flight(Answer.REFUSED), 5) == refused


def test_an_issue_says_which_stage_it_closes_and_all_that_is_still_to_close():
    issue = sends(latched(long(size="40"), rule="take_profit", stage=1), of=HALVES)

    assert (issue.stage, issue.size_to_close) == (1, 20)
    assert issue.size < 20


def test_a_stage_of_an_earlier_lifecycle_neither_ends_nor_measures_this_ones():
    earlier = of_stage_one(Answer.FILLED, "0.5")
    position = latched(long(size="0.6"), rule="take_profit", stage=1)

    assert sends(position, earlier, 1, of=HALVES).size == Decimal("0.3")


def test_the_smallest_rest_that_can_be_sent_is_sent():
    smallest = LOTS.minimum(Decimal(98))
    filled = of_stage_one(Answer.FILLED, str(Decimal("0.5") - smallest))
    position = in_flight(position=long(size="0.6"), rule="take_profit", stage=1)

    assert sends(position, filled, 1, of=HALVES).size == smallest
    twice = latched(long(size=str(2 * smallest)), rule="take_profit", stage=1)
    assert sends(twice, of=HALVES).size == smallest


@pytest.mark.parametrize("filled", ["1", "0.4"])
def test_a_rule_that_closes_everything_closes_what_was_added_meanwhile(filled):
    exit_before = flight(Answer.FILLED, filled_size=Decimal(filled), answered_at=START)
    position = in_flight(position=long(size="0.8", newest_event_at=START + timedelta(seconds=1)))

    assert sends(position, exit_before, 2).size == Decimal("0.8")


SMALLEST = {
    "by value, rounded up to the lot": ("0.001", "0", "5", "0.052"),
    "by quantity": ("0.001", "1", "5", "1"),
    "a lot": ("10", "0", "5", "10"),
    "a lot, where no value is asked for": ("10", "0", "0", "10"),
}


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_size_is_what_the_exchange_takes(name):
    lot, quantity, value, expected = SMALLEST[name]
    instrument = Instrument(
        lot_size=Decimal(lot), min_order_qty=Decimal(quantity), min_order_value=Decimal(value)
    )

    assert instrument.minimum(Decimal(98)) == Decimal(expected)


PARTS = {
    "as much as goes": ("20", "9.499"),
    "leaving the smallest rest": ("9.549", "9.499"),
    "half, or too little would be left": ("9.521", "4.761"),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_as_big_as_the_cap_and_the_rest_allow(name):
    size, expected = PARTS[name]

    assert part_of(Decimal(size), Decimal(100), LOTS, Decimal(950)) == Decimal(expected)


def test_what_costs_exactly_the_cap_goes_in_one():
    size, at = Decimal("9.5"), Decimal(100)

    assert part_of(size, at, LOTS, amount_quote(size, at)) == size


def test_the_smallest_amount_that_a_signal_can_carry_is_sent():
    limits = msgspec.structs.replace(LIMITS, max_order_notional=Decimal("0.01"))

    issue = dispatch(latched(), Rules(), Traffic(), instrument=LOTS, limits=limits, now=START)

    assert issue.amount_quote == Decimal("0.01")


def test_what_no_signal_can_carry_is_held_as_dust():
    assert sends(latched(long(size="0.0001"))) == Wait(reason=Hold.DUST)


def test_a_big_exit_goes_in_parts_below_the_cap_and_none_is_too_small():
    left, parts = Decimal("20.01"), []
    while left:
        issue = sends(latched(long(size=str(left))))
        assert issue.amount_quote <= 950
        parts.append(issue.size)
        left -= issue.size

    assert sum(parts) == Decimal("20.01")
    assert all(part * 98 >= 5 for part in parts)


steps = st.sampled_from(["1", "0.1", "0.01", "0.001", "0.00001", "0.00000001"]).map(Decimal)
prices = st.decimals("0.00001", "200000", places=8).filter(lambda price: price > 0)


@given(lots=st.integers(1, 10_000_000), lot=steps, at=prices)
def test_the_amount_divided_by_the_sent_price_floors_to_the_size(lots, lot, at):
    size = lots * lot
    assume(size * at <= 950)
    assume(size * at >= Decimal("0.01"))
    sent_price = Decimal(repr(float(at)))

    amount = Decimal(repr(float(amount_quote(size, sent_price))))

    # As long as the overshoot, a millionth and the last decimal, stays below a lot: mostly it does.
    assume(size / 1_000_000 + AMOUNT_STEP / sent_price < lot)
    assert (amount / sent_price / lot).to_integral_value(ROUND_FLOOR) * lot == size


@given(
    lots=st.integers(1, 1_000_000),
    lot=st.sampled_from(["0.01", "0.001"]).map(Decimal),
    at=st.decimals("1", "900", places=2),
)
def test_parts_close_exactly_the_size_and_none_exceeds_the_cap(lots, lot, at):
    instrument = Instrument(lot_size=lot, min_order_qty=lot, min_order_value=Decimal(5))
    left = lots * lot
    for _ in range(5):
        part = part_of(left, at, instrument, Decimal(950))
        assert 0 < part <= left
        assert part % lot == 0
        assert amount_quote(part, at) <= 950
        rest = left - part
        assert rest == 0 or rest >= instrument.minimum(at)
        left = rest
        if not left:
            break


def test_the_amount_is_rounded_up_never_down():
    assert amount_quote(Decimal("0.3"), Decimal("0.00000011")) == Decimal("0.00000004")
