"""Periods roll with the clock, touch, and never overlap."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.core.periods import Lengths, rolling

DEFAULT = Lengths(train_days=30, validation_days=7, test_days=1)


@pytest.mark.parametrize(
    ("now", "train_start", "test_start"),
    [
        ("2026-03-31T12:00:00", "2026-02-21T11:59:00", "2026-03-30T11:59:00"),  # a month's end
        ("2028-03-01T00:00:00", "2028-01-22T23:59:00", "2028-02-28T23:59:00"),  # over a leap day
        ("2026-03-29T03:30:00", "2026-02-19T03:29:00", "2026-03-28T03:29:00"),  # a clock change elsewhere
        ("2026-01-01T00:00:30", "2025-11-23T23:59:30", "2025-12-30T23:59:30"),  # a year's end
    ],
)
def test_the_default_windows_are_counted_back_from_one_horizon_ago(now, train_start, test_start):
    periods = rolling(at(now), DEFAULT, horizon_s=60)

    assert periods.train.start == at(train_start)
    assert periods.test.start == at(test_start)


@given(
    st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2040, 1, 1), timezones=st.just(UTC)),
    st.lists(st.floats(0.0001, 400), min_size=3, max_size=3),
    st.integers(1, 86_400),
)
def test_periods_touch_and_stand_on_whole_seconds(now, days, horizon_s):
    train, validation, test = sorted(days, reverse=True)
    lengths = Lengths(train_days=train, validation_days=validation, test_days=test)

    periods = rolling(now, lengths, horizon_s=horizon_s)

    borders = [
        periods.train.start,
        periods.validation.start,
        periods.test.start,
        periods.test.end,
    ]
    assert (periods.train.end, periods.validation.end) == (borders[1], borders[2])
    assert borders == sorted(set(borders))
    assert all(border.microsecond == 0 for border in borders)
    assert now - timedelta(seconds=horizon_s + 1) < periods.test.end <= now - timedelta(seconds=horizon_s)


def test_fractions_of_a_day_count_in_seconds():
    lengths = Lengths(train_days=0.25, validation_days=1 / 12, test_days=1 / 12)

    periods = rolling(at("2026-03-01T12:00:02.700"), lengths, horizon_s=2)

    assert periods.train.end - periods.train.start == timedelta(hours=6)
    assert periods.test.end == at("2026-03-01T12:00:00")


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
