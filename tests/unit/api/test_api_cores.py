"""The API's pure decisions: what may be activated, what is being trained, who may trade, why not."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.skips import SkipCount, by_asset_and_strategy, by_reason
from api.core.training_status import TrainingRun, next_scheduled, training_status
from api.core.versions import is_version_name, objection
from common.core.trading_state import TradingState, trading_state
from common.core.training_queue import TrainingFigures
from common.core.training_schedule import Schedule

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOTHING_ENDED = TrainingFigures(
    total_runs=0,
    succeeded=0,
    rejected=0,
    failed=0,
    cancelled=0,
    recovered=0,
    success_rate=None,
    average_duration_seconds=None,
    max_duration_seconds=None,
    average_wait_seconds=None,
    max_wait_seconds=None,
    max_queue_depth=0,
)
ACTIVE, REDUCING, HALTED = TradingState


def run(state, *, strategy="default", priority="HIGH", minute=0, started=None):
    return TrainingRun(
        run_id=UUID(int=minute),
        strategy_id=strategy,
        symbol="BTCUSDT",
        trigger="manual",
        priority=priority,
        state=state,
        requested_at=NOON + timedelta(minutes=minute),
        requested_by="trainer",
        started_at=started,
        finished_at=None,
        dataset_id=None,
        attempts=0,
        recoveries=0,
        reason=None,
        figures=None,
        progress=None,
        version=None,
        cancel_requested_at=None,
        cancel_actor=None,
        cancel_reason=None,
        trace_id="t",
    )


@pytest.mark.parametrize("name", ["v1", "v0", "v12.34", "v999999"])
def test_a_version_is_v_and_a_number_or_two(name):
    assert is_version_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "v",
        "1",
        "V1",
        "v1.",
        "v.1",
        "v1.2.3",
        "v1\n",
        " v1",
        "v-1",
        "v1e3",
        "v١",
        "../v1",
        "v1/..",
        "v1\0",
    ],
)
def test_nothing_else_is_a_version(name):
    assert not is_version_name(name)


@pytest.mark.parametrize(
    ("verdict", "force", "reason", "code"),
    [
        ("accepted", False, None, None),
        (None, False, None, None),
        ("refused", False, None, "force_needed"),
        ("refused", False, "I know better", "force_needed"),
        ("quarantined", False, None, "force_needed"),
        ("insufficient_evidence", False, None, "force_needed"),
        ("insufficient_evidence", False, "I know better", "force_needed"),
        ("insufficient_evidence", True, None, "reason_needed"),
        ("insufficient_evidence", True, "measured by hand", None),
        ("refused", True, None, "reason_needed"),
        ("accepted", True, None, "reason_needed"),
        ("refused", True, "measured by hand", None),
        ("quarantined", True, "measured by hand", None),
    ],
)
def test_a_verdict_that_does_not_speak_for_a_version_takes_force_and_a_reason(verdict, force, reason, code):
    against = objection("v7", verdict, "no lift", force=force, reason=reason)

    assert (against.code if against else None) == code


def test_the_objection_says_what_the_verdict_says():
    against = objection("v7", "refused", "lift 0.01, needs 0.02", force=False, reason=None)

    assert "version v7 is refused: lift 0.01, needs 0.02" in against.sentence


@pytest.mark.parametrize(
    ("stored", "holds"),
    [
        ({}, REDUCING),
        ({"fleet": ACTIVE}, ACTIVE),
        ({"strategy:a": ACTIVE}, ACTIVE),
        ({"fleet": HALTED, "strategy:a": ACTIVE}, HALTED),
        ({"fleet": ACTIVE, "strategy:a": REDUCING}, REDUCING),
        ({"fleet": REDUCING, "strategy:a": HALTED}, HALTED),
        ({"strategy:b": HALTED}, REDUCING),
    ],
)
def test_the_strictest_stored_state_holds_and_the_initial_one_while_none_is_stored(stored, holds):
    assert trading_state(stored, "a", REDUCING) is holds


def test_an_idle_fleet_trains_nothing_and_nothing_waits():
    status = training_status([], None, NOTHING_ENDED, scheduled=None, now=NOON)

    assert not status.is_training
    assert status.current_training is status.last_training is status.next_scheduled_training is None
    assert (status.queue_size, status.pending_dataset_builds) == (0, 0)
    assert status.queue_wait_time_seconds is status.next_queued_training_strategy_id is None


def test_the_status_tells_running_from_waiting_from_building():
    first, second = NOON + timedelta(minutes=5), NOON + timedelta(minutes=6)
    runs = [
        run("running", strategy="late", minute=1, started=second),
        run("running", strategy="early", minute=2, started=first),
        run("building", strategy="building", minute=3),
        run("requested", strategy="normal", priority="NORMAL", minute=0),
        run("ready", strategy="high", minute=4),
        run("requested", strategy="high but later", minute=5),
    ]

    status = training_status(runs, None, NOTHING_ENDED, scheduled=NOON, now=NOON + timedelta(minutes=10))

    assert status.is_training
    assert status.current_training.strategy_id == "early"
    assert status.queue_size == 3
    assert status.pending_dataset_builds == 1
    assert status.next_queued_training_strategy_id == "high"
    assert status.queue_wait_time_seconds == 360.0
    assert status.next_scheduled_training == NOON


def test_a_run_that_has_waited_long_is_shown_as_the_next():
    runs = [
        run("ready", strategy="patient", priority="NORMAL", minute=0),
        run("ready", strategy="urgent", priority="CRITICAL", minute=59),
    ]

    def following(minute):
        now = NOON + timedelta(minutes=minute)
        status = training_status(runs, None, NOTHING_ENDED, scheduled=None, now=now)
        return status.next_queued_training_strategy_id

    assert (following(59), following(60)) == ("urgent", "patient")


def test_the_next_scheduled_training_is_the_first_of_all_strategies_that_have_a_version():
    hourly = Schedule(expression="hourly", interval_days=7)
    weekly = Schedule(expression=None, interval_days=7)
    trained = {"a": NOON - timedelta(minutes=10), "b": NOON - timedelta(days=6)}

    def scheduled(**schedules):
        return next_scheduled(schedules, trained, NOON)

    assert scheduled(b=weekly, without_a_version=hourly) == NOON + timedelta(days=1)
    assert scheduled(a=hourly, b=weekly) == NOON
    assert scheduled(b=Schedule(expression=None, interval_days=1)) == NOON, "overdue is now"
    assert scheduled(without_a_version=hourly) is None


@given(st.lists(st.sampled_from(["requested", "building", "ready", "running"])))
def test_every_unfinished_run_is_counted_once(states):
    status = training_status(
        [run(state, minute=n) for n, state in enumerate(states)],
        None,
        NOTHING_ENDED,
        scheduled=None,
        now=NOON,
    )

    running = states.count("running")
    assert status.queue_size + status.pending_dataset_builds + running == len(states)
    assert status.queue_wait_time_seconds is None or status.queue_wait_time_seconds >= 0


def skip(strategy, symbol, reason, skips):
    return SkipCount(strategy_id=strategy, symbol=symbol, reason=reason, skips=skips, since=NOON)


def test_skips_add_up_by_reason_and_by_strategy_and_asset():
    counts = [
        skip("a", "BTCUSDT", "hold", 5),
        skip("a", "BTCUSDT", "rate limit", 2),
        skip("b", "BTCUSDT", "rate limit", 9),
    ]

    grouped = by_asset_and_strategy(counts)

    assert by_reason(counts) == {"rate limit": 11, "hold": 5}
    assert list(grouped) == ["a:BTCUSDT", "b:BTCUSDT"]
    assert grouped["a:BTCUSDT"].total_skips == 7
    assert grouped["a:BTCUSDT"].by_reason == {"hold": 5, "rate limit": 2}
    assert (grouped["b:BTCUSDT"].strategy_id, grouped["b:BTCUSDT"].asset) == ("b", "BTCUSDT")
