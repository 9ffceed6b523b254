from datetime import timedelta
from decimal import ROUND_FLOOR, Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.exit_strategy.book import START, long, rules, short, tp

from common.core.exits.dispatch import (
    AMOUNT_STEP,
    Answer,
    Done,
    Flight,
    Instrument,
    Issue,
    Limits,
    Traffic,
    Wait,
    amount_quote,
    dispatch,
    part_of,
    refusals,
    was_reopened,
)
from common.core.exits.holds import Hold
from common.core.exits.position import UNATTRIBUTED, View
from common.core.exits.rules import Rules

LIMITS = Limits(
    reissue=timedelta(seconds=15), entry_gap=timedelta(milliseconds=200), max_order_notional=Decimal(950)
)
LOTS = Instrument(lot_size=Decimal("0.001"), min_order_qty=Decimal("0.001"), min_order_value=Decimal(5))
EXIT_ID = UUID(int=9)
HALVES = rules(tp((3, 50), (5, 100)))


def latched(position=None, rule="stop_loss", **changes):
    changes = {"latched_rule": rule, "latched_at": START, "last_price": Decimal(98), **changes}
    return msgspec.structs.replace(position or long(), **changes)


def in_flight(**changes):
    return latched(exit_signal_id=EXIT_ID, generation=1, **changes)


def flight(answer=Answer.NONE, **changes):
    sent = Flight(
        signal_id=EXIT_ID,
        rule="stop_loss",
        stage=0,
        live_size=Decimal(1),
        size_to_close=Decimal(1),
        issued_at=START,
        answer=answer,
    )
    return Traffic(newest_exit=msgspec.structs.replace(sent, **changes))


def sends(position, traffic=None, after_s=0.0, of=None):
    return dispatch(
        position,
        of or Rules(),
        traffic or Traffic(),
        instrument=LOTS,
        limits=LIMITS,
        now=START + timedelta(seconds=after_s),
    )


@pytest.mark.parametrize("position", [long(), short()])
def test_the_first_exit_carries_the_whole_live_size(position):
    issue = sends(latched(position))

    assert isinstance(issue, Issue)
    assert (issue.rule, issue.generation, issue.size) == ("stop_loss", 1, 1)
    assert issue.amount_quote == Decimal("98.00009800")


def test_nothing_is_sent_without_a_latch():
    assert sends(long()) == Wait(reason=Hold.NOT_LATCHED)


WAITS = {
    "unanswered": (Answer.NONE, 14.9, Hold.EXIT_IN_FLIGHT),
    "resting": (Answer.RESTING, 14.9, Hold.EXIT_IN_FLIGHT),
    "refused, the same rule": (Answer.REFUSED, 14.9, Hold.EXIT_REFUSED),
    "filled, not shown": (Answer.FILLED, 14.9, Hold.FILL_NOT_SHOWN),
    "filled long ago, not shown": (Answer.FILLED, 15, Hold.POSITION_VIEW_LATE),
    "filled for ever, not shown": (Answer.FILLED, 86_400, Hold.POSITION_VIEW_LATE),
}


@pytest.mark.parametrize("name", WAITS)
def test_an_exit_under_way_keeps_the_next_one_back(name):
    answer, after_s, reason = WAITS[name]

    outcome = sends(in_flight(), flight(answer), after_s)

    assert isinstance(outcome, Wait)
    assert outcome.reason is reason


@pytest.mark.parametrize("answer", [Answer.NONE, Answer.RESTING, Answer.REFUSED])
def test_an_unanswered_exit_is_issued_again_with_the_live_size(answer):
    outcome = sends(in_flight(position=long(size="0.6")), flight(answer), 15)

    assert isinstance(outcome, Issue)
    assert (outcome.generation, outcome.size) == (2, Decimal("0.6"))


def test_an_exit_that_expired_unsent_is_issued_again_at_once():
    outcome = sends(in_flight(position=long(size="0.6")), flight(Answer.EXPIRED), 1)

    assert isinstance(outcome, Issue)
    assert (outcome.generation, outcome.size) == (2, Decimal("0.6"))


REOPENED = {
    "another entry": ({}, "1", "90", 2, True),
    "more than before": ({}, "1.5", "100", 2, True),
    "a late view of the same": ({}, "1", "100", 2, False),
    "a fill shown in part": ({}, "0.4", "100", 2, False),
    "closed": ({}, "0", "90", 2, False),
    "seen before the fill": ({}, "1", "90", 0, False),
    "filled in part": ({"filled_size": Decimal("0.5")}, "1", "90", 2, False),
    "refused": ({"answer": Answer.REFUSED}, "1", "90", 2, False),
    "somebody else's exit": ({"signal_id": UUID(int=77)}, "1", "90", 2, False),
}


@pytest.mark.parametrize("name", REOPENED)
def test_a_position_is_another_one_when_its_own_exit_closed_all_of_it_before(name):
    changes, size, entry, seen_after_s, expected = REOPENED[name]
    answered_at = START + timedelta(seconds=1)
    facts = {"answer": Answer.FILLED, "filled_size": Decimal(1), "answered_at": answered_at, **changes}
    seen_at = START + timedelta(seconds=seen_after_s)
    view = View(symbol="BTCUSDT", size=Decimal(size), entry_price=Decimal(entry), seen_at=seen_at)

    assert was_reopened(in_flight(), view, flight(**facts).newest_exit) is expected


def test_another_rule_goes_at_once_when_the_exit_before_was_refused():
    outcome = sends(in_flight(), flight(Answer.REFUSED, rule="take_profit", stage=1), 5)

    assert isinstance(outcome, Issue)
    assert (outcome.rule, outcome.generation) == ("stop_loss", 2)


def test_another_rule_waits_while_the_exit_before_is_pending():
    outcome = sends(in_flight(), flight(Answer.RESTING, rule="take_profit", stage=1), 5)

    assert outcome == Wait(reason=Hold.EXIT_IN_FLIGHT, until=START + timedelta(seconds=15))


def test_the_exit_of_an_earlier_lifecycle_is_waited_for_too():
    strange = flight(Answer.RESTING, signal_id=UUID(int=77))

    assert isinstance(sends(latched(), strange, 5), Wait)
    assert isinstance(sends(latched(), strange, 15), Issue)


def test_a_filled_exit_of_an_earlier_lifecycle_is_over():
    assert isinstance(sends(latched(), flight(Answer.FILLED, signal_id=UUID(int=77)), 1), Issue)


def test_the_next_part_follows_once_the_position_shows_the_fill():
    filled = flight(Answer.FILLED, live_size=Decimal(1), filled_size=Decimal("0.4"), answered_at=START)

    outcome = sends(in_flight(position=long(size="0.6")), filled, 1)

    assert isinstance(outcome, Issue)
    assert (outcome.size, outcome.generation) == (Decimal("0.6"), 2)


def test_a_fill_counts_as_shown_when_a_newer_view_has_another_size():
    filled = flight(Answer.FILLED, live_size=Decimal(1), answered_at=START)
    shown = in_flight(position=long(size="1.5", newest_event_at=START + timedelta(seconds=1)))

    assert isinstance(sends(shown, filled, 2), Issue)


def test_an_exit_waits_for_an_entry_that_was_just_sent():
    traffic = Traffic(newest_entry_at=START)

    assert sends(latched(), traffic, 0.1) == Wait(
        reason=Hold.ENTRY_JUST_SENT, until=START + timedelta(milliseconds=200)
    )
    assert isinstance(sends(latched(), traffic, 0.2), Issue)


def test_a_stage_closes_its_share_floored_to_the_lot():
    position = latched(long(size="1.555"), rule="take_profit", stage=1)

    assert sends(position, of=HALVES).size == Decimal("0.777")


def test_a_stage_that_would_leave_dust_closes_everything():
    position = latched(long(size="0.1"), rule="take_profit", stage=1)

    assert sends(position, of=HALVES).size == Decimal("0.1")


def test_a_stage_is_done_when_its_size_was_filled():
    half = flight(
        Answer.FILLED,
        rule="take_profit",
        stage=1,
        size_to_close=Decimal("0.5"),
        filled_size=Decimal("0.5"),
        answered_at=START,
    )
    position = in_flight(position=long(size="0.5"), rule="take_profit", stage=1)

    assert sends(position, half, 1, of=HALVES) == Done()


def test_a_stage_cancelled_half_way_closes_only_the_rest_of_it():
    half = flight(
        Answer.REFUSED,
        rule="take_profit",
        stage=1,
        size_to_close=Decimal("0.5"),
        filled_size=Decimal("0.2"),
        answered_at=START,
    )
    position = in_flight(position=long(size="0.8"), rule="take_profit", stage=1)

    assert sends(position, half, 15, of=HALVES).size == Decimal("0.3")


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


PACED = msgspec.structs.replace(
    LIMITS, cooldown=timedelta(seconds=60), rate_limit=2, rate_window=timedelta(seconds=60)
)
JUST = START - timedelta(seconds=5)


def paced(position, traffic=None, after_s=0.0, of=HALVES):
    return dispatch(
        position,
        of,
        traffic or Traffic(),
        instrument=LOTS,
        limits=PACED,
        now=START + timedelta(seconds=after_s),
    )


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
