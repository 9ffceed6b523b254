"""What a latched position may send beside the exit before it."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from tests.unit.exit_strategy.book import START, long, short
from tests.unit.exit_strategy.flights import (
    flight,
    in_flight,
    latched,
    sends,
)

from common.core.exits.dispatch import (
    Answer,
    Issue,
    Traffic,
    Wait,
    was_reopened,
)
from common.core.exits.holds import Hold
from common.core.exits.position import View


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
    "seen with the fill": ({}, "1", "90", 1, False),
    "an exit that does not say its size": ({"live_size": Decimal(0)}, "1", "90", 2, False),
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


SHOWN = {
    "the old size, seen later": ("1", "100", 1, False),
    "another entry, seen later": ("1", "99", 1, True),
    "another entry, seen before": ("1", "99", -1, False),
    "another size, seen later": ("1.5", "100", 1, True),
    "another size, seen with the fill": ("1.5", "100", 0, True),
    "another size, seen before": ("1.5", "100", -1, False),
    "less by the fill, seen before": ("0.6", "100", -1, True),
    "less, but not by the fill, seen before": ("0.8", "100", -1, False),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_fill_is_shown_by_a_smaller_size_or_a_later_view_with_another_size_or_entry(name):
    size, entry, seen_after_s, is_shown = SHOWN[name]
    filled = flight(Answer.FILLED, entry_price=Decimal(100), filled_size=Decimal("0.4"), answered_at=START)
    seen_at = START + timedelta(seconds=seen_after_s)
    position = in_flight(position=long(entry=entry, size=size, newest_event_at=seen_at))

    assert isinstance(sends(position, filled, 2), Issue) is is_shown


def test_an_exit_waits_for_an_entry_that_was_just_sent():
    traffic = Traffic(newest_entry_at=START)

    assert sends(latched(), traffic, 0.1) == Wait(
        reason=Hold.ENTRY_JUST_SENT, until=START + timedelta(milliseconds=200)
    )
    assert isinstance(sends(latched(), traffic, 0.2), Issue)
