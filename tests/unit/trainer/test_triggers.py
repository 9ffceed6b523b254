"""When a strategy asks for a training by itself."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core.training_schedule import Schedule
from trainer.core.triggers import LONGEST_PAUSE, History, due

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RETRY_S = 300


def history(*, trained_ago=None, fruitless=0, fruitless_ago=None):
    return History(
        last_trained_at=None if trained_ago is None else NOW - trained_ago,
        fruitless=fruitless,
        last_fruitless_at=None if fruitless_ago is None else NOW - fruitless_ago,
    )


def asked(past, *, expression=None, interval_days=7.0, now=NOW):
    return due(past, Schedule(expression=expression, interval_days=interval_days), retry_s=RETRY_S, now=now)


def test_a_strategy_without_a_version_asks_at_once_whatever_its_schedule():
    assert asked(history(), expression="weekly") == "bootstrap"


@pytest.mark.parametrize(
    ("fruitless", "ago_s", "is_due"),
    [
        (1, 299, False),
        (1, 300, True),
        (3, 1199, False),
        (3, 1200, True),
        (40, 6 * 3600, True),  # the pause stops growing
        (40, 6 * 3600 - 1, False),
    ],
)
def test_after_each_fruitless_run_the_pause_doubles(fruitless, ago_s, is_due):
    ago = timedelta(seconds=ago_s)

    first = asked(history(fruitless=fruitless, fruitless_ago=ago))
    again = asked(history(trained_ago=timedelta(days=8), fruitless=fruitless, fruitless_ago=ago))

    assert first == ("bootstrap" if is_due else None)
    assert again == ("schedule" if is_due else None)


@pytest.mark.parametrize(
    ("ago", "trigger"),
    [
        (timedelta(days=7) - timedelta(seconds=1), None),
        (timedelta(days=7), "schedule"),
        (timedelta(days=700), "schedule"),
    ],
)
def test_without_a_schedule_the_interval_since_the_last_training_counts(ago, trigger):
    assert asked(history(trained_ago=ago)) == trigger


@pytest.mark.parametrize(
    ("expression", "trained_ago", "trigger"),
    [
        ("hourly", timedelta(minutes=59), "schedule"),  # 00:00 has come
        ("daily", timedelta(0), None),
        ("daily", timedelta(seconds=1), "schedule"),
        ("weekly", timedelta(hours=1), "schedule"),  # 2026-03-01 is a Sunday
        ("30 3 * * 1-5", timedelta(days=1), None),  # Saturday and Sunday nights do not count
        ("30 3 * * 1-5", timedelta(days=2), "schedule"),  # Friday's was missed
    ],
)
def test_a_schedule_is_due_when_one_of_its_instants_has_passed_since_the_last_training(
    expression, trained_ago, trigger
):
    assert asked(history(trained_ago=trained_ago), expression=expression, interval_days=0.001) == trigger


@given(missed=st.integers(1, 500), expression=st.sampled_from(["hourly", "daily", "*/7 2 * * *", None]))
def test_what_was_missed_while_nobody_ran_is_due_once(missed, expression):
    before = history(trained_ago=timedelta(days=10 * missed))
    after = history(trained_ago=timedelta(0))

    assert asked(before, expression=expression) == "schedule"
    assert asked(after, expression=expression) is None


@given(
    fruitless=st.integers(0, 100),
    fruitless_ago=st.timedeltas(LONGEST_PAUSE, timedelta(days=300)),
    trained_ago=st.timedeltas(timedelta(days=8), timedelta(days=300)) | st.none(),
)
def test_no_strategy_is_given_up_for_ever(fruitless, fruitless_ago, trained_ago):
    past = history(trained_ago=trained_ago, fruitless=fruitless, fruitless_ago=fruitless_ago)

    assert asked(past) is not None


def test_a_change_to_summer_time_changes_nothing_the_schedule_is_in_utc():
    # Central Europe leaves 02:00 to 03:00 out on 2026-03-29.
    last = History(
        last_trained_at=datetime(2026, 3, 28, 2, 30, tzinfo=UTC), fruitless=0, last_fruitless_at=None
    )
    schedule = Schedule(expression="30 2 * * *", interval_days=7)

    def at(minute):
        return due(last, schedule, retry_s=RETRY_S, now=datetime(2026, 3, 29, 2, minute, tzinfo=UTC))

    assert (at(29), at(30)) == (None, "schedule")
