"""Whose turn it is: urgency, aging, and that nobody starves."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.core.training_queue import AGING, PRIORITIES, level, turn
from common.core.training_schedule import checked

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("priority", "minutes", "expected"),
    [
        ("CRITICAL", 0, 0),
        ("CRITICAL", 500, 0),
        ("HIGH", 29.9, 1),
        ("HIGH", 30, 0),
        ("NORMAL", 0, 2),
        ("NORMAL", 30, 1),
        ("NORMAL", 60, 0),
        ("NORMAL", -5, 2),  # a clock that went back
    ],
)
def test_a_run_rises_by_one_level_in_half_an_hour(priority, minutes, expected):
    assert level(priority, timedelta(minutes=minutes)) == expected


@pytest.mark.parametrize("expression", ["hourly", "DAILY", "weekly", "*/5 * * * *", "0 3 29 2 *"])
def test_a_schedule_that_comes_is_taken_as_it_is(expression):
    assert checked(expression) == expression


@pytest.mark.parametrize("expression", ["", "fortnightly", "* * * *", "61 * * * *", "0 0 30 2 *"])
def test_a_schedule_that_is_none_or_never_comes_is_refused(expression):
    with pytest.raises(ValueError, match=r"cron|never comes"):
        checked(expression)


class Queue(RuleBasedStateMachine):
    """One trainer takes by `turn`; the model knows the levels as a run's own steps up a ladder."""

    def __init__(self):
        super().__init__()
        self.now = NOON
        self.numbers = count()
        self.waiting = {}
        self.model = []

    @rule(priority=st.sampled_from(PRIORITIES))
    def request(self, priority):
        number = next(self.numbers)
        self.now += timedelta(seconds=1)
        self.waiting[number] = (priority, self.now)
        self.model.append({"number": number, "rungs": PRIORITIES.index(priority), "since": self.now})

    @rule(minutes=st.integers(1, 45))
    def wait(self, minutes):
        for _ in range(minutes):
            self.now += timedelta(minutes=1)
            for run in self.model:
                while run["rungs"] and self.now - run["since"] >= AGING:
                    run["rungs"] -= 1
                    run["since"] += AGING

    @precondition(lambda self: self.waiting)
    @rule()
    def take(self):
        taken = min(self.waiting, key=lambda number: turn(*self.waiting[number], self.now))
        expected = min(self.model, key=lambda run: (run["rungs"], run["number"]))["number"]
        _, requested_at = self.waiting.pop(taken)
        self.model = [run for run in self.model if run["number"] != taken]

        assert taken == expected
        for _, other_at in self.waiting.values():
            starved = self.now - other_at >= 2 * AGING and other_at < requested_at
            assert not starved, "after an hour nobody who came later goes first"

    @invariant()
    def nobody_is_lost(self):
        assert self.waiting.keys() == {run["number"] for run in self.model}


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
