"""Pauses between exits, what refusals do to them, and what our own fills allow."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from tests.unit.exit_strategy.book import START, long
from tests.unit.exit_strategy.flights import (
    JUST,
    flight,
    in_flight,
    latched,
    paced,
)

from common.core.exits.dispatch import (
    Answer,
    Issue,
    Traffic,
    Wait,
    refusals,
)
from common.core.exits.holds import Hold
from common.core.exits.position import UNATTRIBUTED


@pytest.mark.parametrize("rule", ["take_profit", "max_hold", "decaying_target"])
def test_targets_and_the_age_cool_down_after_another_exit(rule):
    position = latched(rule=rule, stage=1, last_exit_at=JUST)

    assert paced(position) == Wait(reason=Hold.COOLING_DOWN, until=JUST + timedelta(seconds=60))
    assert isinstance(paced(position, after_s=55), Issue)


@pytest.mark.parametrize("rule", ["stop_loss", "kept_stop", "trailing_stop", "operator"])
def test_what_protects_money_neither_cools_down_nor_is_limited(rule):
    crowded = Traffic(published_exits=(JUST, JUST, JUST))

    assert isinstance(paced(latched(rule=rule, last_exit_at=JUST), crowded), Issue)


def test_s3_the_stop_goes_at_once_beside_a_cooling_target():
    rejected = flight(Answer.REFUSED, rule="take_profit", stage=1, issued_at=JUST)
    position = in_flight(stage=1, last_exit_at=JUST)

    assert isinstance(paced(position, rejected), Issue)


def test_the_next_part_of_a_target_does_not_cool_down():
    part = flight(
        Answer.FILLED,
        rule="take_profit",
        stage=1,
        live_size=Decimal(20),
        size_to_close=Decimal(10),
        filled_size=Decimal(9),
        answered_at=START,
    )
    position = in_flight(position=long(size="11"), rule="take_profit", stage=1, last_exit_at=START)

    assert paced(position, part, 1).size == 1


def test_the_next_stage_cools_down():
    first = flight(Answer.FILLED, rule="take_profit", stage=1, filled_size=Decimal("0.5"), answered_at=START)
    position = in_flight(position=long(size="0.5"), rule="take_profit", stage=2, last_exit_at=START)

    assert paced(position, first, 1) == Wait(reason=Hold.COOLING_DOWN, until=START + timedelta(seconds=60))


def test_a_symbol_has_so_many_targets_in_a_window_and_then_waits_for_its_oldest_to_leave():
    position = latched(rule="take_profit", stage=1)
    crowded = Traffic(published_exits=(START - timedelta(seconds=90), JUST, START - timedelta(seconds=2)))

    assert paced(position, crowded) == Wait(reason=Hold.RATE_LIMITED, until=JUST + timedelta(seconds=60))
    assert isinstance(paced(position, crowded, 55), Issue)


ROWS = {
    "the first": (0, Answer.REFUSED, 0, 1),
    "unknown to everybody": (1, Answer.NONE, 0, 2),
    "never sent": (1, Answer.EXPIRED, 0, 1),
    "resting": (1, Answer.RESTING, 0, 1),
    "filled in part": (2, Answer.REFUSED, "0.1", 0),
    "filled": (2, Answer.FILLED, 0, 0),
}


@pytest.mark.parametrize("name", ROWS)
def test_exits_in_a_row_that_came_to_nothing_are_counted(name):
    before, answer, filled, expected = ROWS[name]
    newest = flight(answer, filled_size=Decimal(filled)).newest_exit

    assert refusals(in_flight(refusals=before), newest) == expected


def test_an_exit_of_an_earlier_lifecycle_is_no_refusal_of_this_one():
    assert refusals(latched(), flight(Answer.REFUSED, signal_id=UUID(int=77)).newest_exit) == 0
    assert refusals(latched(), None) == 0


def test_after_three_refusals_one_exit_is_tried_each_cooldown():
    position = in_flight(refusals=2)
    refused = flight(Answer.REFUSED)

    held = Wait(reason=Hold.EXITS_REFUSED_REPEATEDLY, until=START + timedelta(seconds=60))
    assert paced(position, refused, 15) == held
    assert paced(position, refused, 59.9) == held
    assert paced(position, refused, 60).refusals == 3
    assert isinstance(paced(in_flight(refusals=1), refused, 15), Issue)


def test_after_three_refusals_a_rule_that_outweighs_is_tried_at_once():
    refused = flight(Answer.REFUSED, rule="take_profit", stage=1)

    assert isinstance(paced(in_flight(refusals=5), refused, 5), Issue)


def test_an_exit_never_exceeds_what_our_own_fills_bought():
    position = latched(long(size="0.9"))

    assert paced(position, Traffic(booked_size=Decimal("0.5"))).size == Decimal("0.5")
    assert paced(position, Traffic(booked_size=Decimal(2))).size == Decimal("0.9")
    assert paced(position, Traffic(booked_size=Decimal(0))) == Wait(reason=Hold.NOTHING_BOOKED)
    assert paced(position, Traffic(booked_size=Decimal(-1))) == Wait(reason=Hold.NOTHING_BOOKED)


def test_of_an_unattributed_position_the_live_size_is_closed():
    position = latched(long(size="0.9", strategy_id=UNATTRIBUTED))

    assert paced(position, Traffic(booked_size=Decimal("0.5"))).size == Decimal("0.9")


def test_a_refused_exit_is_tried_again_with_the_price_and_size_of_the_moment():
    position = in_flight(position=long(size="0.3"), last_price=Decimal(90), refusals=3)

    again = paced(position, flight(Answer.REFUSED), 60)

    assert (again.size, again.price, again.generation) == (Decimal("0.3"), 90, 2)
