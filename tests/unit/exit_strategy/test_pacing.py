from datetime import timedelta

import pytest
from tests.unit.exit_strategy.book import MAX_AGE, START, hold_for, long, price, rules, sl, tp, trail

from common.core.exits.rules import PACED
from common.core.exits.step import Exit, step
from exit_strategy.core.pacing import waiting_rules, window_after

DEBOUNCE = timedelta(milliseconds=250)
OF = rules(sl(2), tp((3, 100)), trail(2, 1))


def heard(position, *prices, of=OF, debounce=DEBOUNCE):
    """What each (ms, price) decides; a price of None is the end of the window, with its newest price."""
    decisions, window = [], None
    for ms, value in prices:
        now = START + timedelta(milliseconds=ms)
        seen = window.newest if value is None else price(value, now)
        waiting = waiting_rules(window, now, debounce)
        position, _, decision = step(position, seen, of, now, MAX_AGE, waiting=waiting)
        window = None if isinstance(decision, Exit) else window_after(window, seen, decision, now, debounce)
        decisions.append(decision.verdict.rule if isinstance(decision, Exit) else str(decision))
    return decisions, window


def test_a_target_waits_and_the_newest_price_of_the_window_decides():
    decisions, window = heard(long(), (0, "104"), (100, "103.5"), (250, None), of=rules(tp((3, 100))))

    assert (decisions, window) == (["debounced", "debounced", "take_profit"], None)


def test_a_target_that_was_passed_for_an_instant_only_is_no_exit():
    decisions, window = heard(long(), (0, "104"), (100, "102"), (250, None), of=rules(tp((3, 100))))

    assert (decisions, window) == (["debounced", "no_rule_fires", "no_rule_fires"], None)


def test_a_window_ends_in_time_however_many_prices_come():
    prices = [(ms, "104") for ms in range(0, 300, 50)]

    decisions, _ = heard(long(), *prices)

    assert decisions == ["debounced"] * 5 + ["take_profit"]


@pytest.mark.parametrize(
    ("value", "rule"), [("97.9", "stop_loss"), ("102.9", "trailing_stop"), ("50", "stop_loss")]
)
def test_s1_a_stop_never_waits_not_even_within_a_window(value, rule):
    decisions, _ = heard(long(), (0, "104"), (10, value))

    assert decisions == ["debounced", rule]


def test_a_stop_in_a_burst_is_decided_on_the_price_that_crosses_it():
    decisions, _ = heard(long(), (0, "99.0"), (5, "98.5"), (10, "97.9"), of=rules(sl(2)))

    assert decisions == ["no_rule_fires", "no_rule_fires", "stop_loss"]


def test_the_greatest_age_waits_like_a_target_even_without_any_price():
    old = long(opened_at=START - timedelta(hours=24))

    decisions, _ = heard(old, (0, "100"), (250, None), of=rules(hold_for(24)))

    assert decisions == ["debounced", "max_hold"]


def test_without_a_window_every_rule_decides_at_once():
    decisions, _ = heard(long(), (0, "104"), debounce=timedelta(0))

    assert decisions == ["take_profit"]


def test_an_older_price_neither_moves_nor_prolongs_a_window_and_does_not_outlive_its_end():
    decisions, window = heard(long(), (50, "104"), (20, "110"))
    assert decisions == ["debounced", "older_price"]
    assert window.newest.value == 104

    still = window_after(window, price("110"), step_older(), START + timedelta(seconds=1), DEBOUNCE)
    assert still is None


def step_older():
    at = START + timedelta(seconds=1)
    newer = long(last_evaluated_at=at)
    return step(newer, price("110"), OF, at, MAX_AGE)[2]


def test_a_latched_target_opens_no_further_window():
    decisions, window = heard(
        long(latched_rule="take_profit", stage=1), (0, "104"), of=rules(tp((1, 50), (2, 50)))
    )

    assert (decisions, window) == (["latched"], None)


def test_the_paced_rules_are_targets_and_age():
    assert {"take_profit", "max_hold", "decaying_target"} == PACED
