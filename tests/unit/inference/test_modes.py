"""Modes: what the registry's history makes of a strategy, and how long a warm-up may last."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.model_registry import Activation
from inference.core.modes import Period, hours, transitions, warmed_up_too_long

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def history(*versions):
    return [
        Activation(
            strategy_id="momentum",
            epoch=number + 1,
            version=version,
            sha256="0" * 64 if version else None,
            actor="api",
            reason="because",
            activated_at=NOW + timedelta(hours=number + 1),
        )
        for number, version in enumerate(versions)
    ]


NEW = Period(epoch=0, mode="warm_up", since=NOW)


@pytest.mark.parametrize(
    ("known", "versions", "changes"),
    [
        (None, [], [(0, "warm_up")]),
        (NEW, [], []),
        (NEW, ["v1"], [(1, "model")]),
        (None, ["v1"], [(1, "model")]),
        (NEW, ["v1", "v2", "v1"], [(1, "model")]),
        (NEW, ["v1", None, None, "v2"], [(1, "model"), (2, "warm_up"), (4, "model")]),
        (Period(epoch=2, mode="warm_up", since=NOW), ["v1", None, "v3"], [(3, "model")]),
        (Period(epoch=1, mode="model", since=NOW), ["v1", "v2"], []),
    ],
)
def test_only_going_to_a_model_and_back_changes_the_mode(known, versions, changes):
    found = transitions(known, history(*versions), NOW)

    assert [(each.began.epoch, each.began.mode) for each in found] == changes


def test_a_change_knows_why_since_when_and_what_was_before():
    [change] = transitions(NEW, history("v1"), NOW)

    assert (change.version, change.reason, change.before) == ("v1", "api: because", NEW)
    assert change.began.since == NOW + timedelta(hours=1)


@given(st.lists(st.sampled_from(["v1", "v2", None]), max_size=12), st.integers(0, 12))
def test_changes_found_in_two_goes_are_those_found_in_one(versions, first):
    whole = transitions(NEW, history(*versions), NOW)

    begun = transitions(NEW, history(*versions)[:first], NOW)
    last = begun[-1].began if begun else NEW
    rest = transitions(last, history(*versions), NOW)

    assert [*begun, *rest] == whole


@pytest.mark.parametrize(
    ("mode", "age_h", "limit_h", "too_long"),
    [
        ("warm_up", 71.9, 72, False),
        ("warm_up", 72, 72, False),
        ("warm_up", 72.1, 72, True),
        ("warm_up", 10_000, 0, False),
        ("model", 10_000, 72, False),
    ],
)
def test_only_a_warm_up_lasts_too_long(mode, age_h, limit_h, too_long):
    period = Period(epoch=0, mode=mode, since=NOW - timedelta(hours=age_h))

    assert warmed_up_too_long(period, limit_h, NOW) == too_long


def test_hours_are_shown_to_the_thousandth():
    assert hours(timedelta(minutes=90, seconds=1)) == 1.5
