"""When an active version counts as worse than promised, by which rows, and when it asks for a training."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from trainer.core.degradation import Figure, newest_live, quality, training_due
from trainer.core.retention import expendable

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def live(accuracy, rows):
    return Figure(source="live", accuracy=accuracy, rows=rows)


@pytest.mark.parametrize(
    ("hours", "found"),
    [
        ([], None),
        ([live(0.6, 99)], None),
        ([live(0.6, 100)], live(0.6, 100)),
        ([live(0.5, 60), live(0.6, 60), live(0.0, 1000)], live(0.55, 120)),
        ([live(0.5, 0), live(0.6, 100)], live(0.6, 100)),
    ],
)
def test_the_newest_hours_with_enough_rows_are_the_live_figure(hours, found):
    assert newest_live(hours, min_rows=100) == found


@pytest.mark.parametrize(
    ("newest", "degraded"),
    [(0.55, False), (0.5001, False), (0.499, True), (0.9, False), (math.nan, True)],
)
def test_a_version_is_degraded_beyond_the_drop_not_at_it(newest, degraded):
    promised = Figure(source="test", accuracy=0.55, rows=3000)

    found = quality("v3", promised, live(newest, 1200), drop=0.05)

    assert found.degraded is degraded
    assert found.sentence.startswith("v3 is right in ")
    assert "of 1,200 live rows, 55.0% of 3,000 test rows when it was promoted" in found.sentence
    assert ("(QUALITY_DEGRADATION_DROP)" in found.sentence) is degraded


@pytest.mark.parametrize(
    ("last_ago", "activated_ago", "due"),
    [
        (None, timedelta(hours=1), True),
        (timedelta(hours=2), timedelta(hours=3), False),
        (timedelta(hours=2), timedelta(hours=1), True),
        (timedelta(hours=24), timedelta(hours=30), True),
        (timedelta(hours=23.9), timedelta(hours=30), False),
    ],
)
def test_a_degraded_version_asks_once_and_then_once_a_day(last_ago, activated_ago, due):
    last = None if last_ago is None else NOW - last_ago

    assert training_due(last, activated_at=NOW - activated_ago, now=NOW) is due


def test_only_old_versions_that_nobody_needs_are_expendable():
    versions = {"a": ["v9", "v7", "v5", "v3", "v1"], "b": ["v8", "v6"]}

    assert expendable(versions, keep=2, needed={"v3"}) == ("v5", "v1")
    assert expendable(versions, keep=1, needed=()) == ("v7", "v5", "v3", "v1", "v6")
    assert expendable({}, keep=1, needed=()) == ()
