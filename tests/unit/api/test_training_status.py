"""What the API makes of the trainings: the status, by strategy too, and what comes next."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.training_status import TrainingRun, next_times, scheduled_training, training_status
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
        dataset_only=False,
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


def test_an_idle_fleet_trains_nothing_and_nothing_waits():
    status = training_status([], {}, NOTHING_ENDED, scheduled={"default": None}, now=NOON)

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

    status = training_status(
        runs, {}, NOTHING_ENDED, scheduled={"early": NOON, "late": None}, now=NOON + timedelta(minutes=10)
    )

    assert status.is_training
    assert status.current_training.strategy_id == "early"
    assert status.queue_size == 3
    assert status.pending_dataset_builds == 1
    assert status.next_queued_training_strategy_id == "high"
    assert status.queue_wait_time_seconds == 360.0
    assert status.next_scheduled_training == NOON
    assert [(each.strategy_id, each.is_training) for each in status.strategies] == [
        ("early", True),
        ("late", True),
    ]


def test_a_run_that_has_waited_long_is_shown_as_the_next():
    runs = [
        run("ready", strategy="patient", priority="NORMAL", minute=0),
        run("ready", strategy="urgent", priority="CRITICAL", minute=59),
    ]

    def following(minute):
        now = NOON + timedelta(minutes=minute)
        status = training_status(runs, {}, NOTHING_ENDED, scheduled={}, now=now)
        return status.next_queued_training_strategy_id

    assert (following(59), following(60)) == ("urgent", "patient")


def test_every_strategy_has_what_it_ended_last_and_how_much_of_it_waits():
    runs = [run("building", strategy="a", minute=1), run("ready", strategy="a", minute=2)]
    ended = {
        "a": msgspec.structs.replace(run("failed", strategy="a"), finished_at=NOON),
        "b": msgspec.structs.replace(run("succeeded", strategy="b"), finished_at=NOON + timedelta(hours=1)),
    }

    status = training_status(runs, ended, NOTHING_ENDED, scheduled={"a": NOON, "b": None}, now=NOON)

    assert status.last_training is ended["b"]
    assert [(each.strategy_id, each.queued, each.last_training) for each in status.strategies] == [
        ("a", 2, ended["a"]),
        ("b", 0, ended["b"]),
    ]
    assert [each.next_scheduled_training for each in status.strategies] == [NOON, None]


HOURLY = Schedule(expression="hourly", interval_days=7)
WEEKLY = Schedule(expression=None, interval_days=7)


@pytest.mark.parametrize(
    ("schedule", "trained", "expected_hours"),
    [
        (HOURLY, timedelta(minutes=10), [0, 1, 2]),  # due this instant
        (HOURLY, timedelta(minutes=-1), [1, 2, 3]),
        (HOURLY, timedelta(days=3), [0, 1, 2]),  # missed often, made up for once
        (WEEKLY, timedelta(days=6), [24, 24 * 8, 24 * 15]),
        (WEEKLY, timedelta(days=30), [0, 24 * 7, 24 * 14]),
    ],
)
def test_the_next_times_follow_from_the_schedule_and_the_last_training(schedule, trained, expected_hours):
    times = list(islice(next_times(schedule, NOON - trained, NOON), 3))

    assert times == [NOON + timedelta(hours=hours) for hours in expected_hours]


def test_without_a_version_no_time_is_known():
    assert list(next_times(HOURLY, None, NOON)) == []


@pytest.mark.parametrize(
    ("schedule", "trained_at", "symbol", "times", "reason"),
    [
        (WEEKLY, NOON - timedelta(days=1), "BTCUSDT", 5, "7 days after the last training"),
        (HOURLY, NOON + timedelta(minutes=1), "BTCUSDT", 5, "MODEL_RETRAINING_SCHEDULE=hourly"),
        (WEEKLY, NOON - timedelta(days=8), "BTCUSDT", 5, "overdue"),
        (WEEKLY, None, "BTCUSDT", 0, "no version"),
        (WEEKLY, NOON, None, 0, "no symbol"),
    ],
)
def test_a_schedule_says_what_its_times_follow_from(schedule, trained_at, symbol, times, reason):
    shown = scheduled_training("momentum", schedule, trained_at, symbol=symbol, now=NOON)

    assert len(shown.next_at) == times
    assert shown.next_at == sorted(set(shown.next_at))
    assert reason in shown.reason


@given(st.lists(st.sampled_from(["requested", "building", "ready", "running"])))
def test_every_unfinished_run_is_counted_once(states):
    status = training_status(
        [run(state, minute=n) for n, state in enumerate(states)],
        {},
        NOTHING_ENDED,
        scheduled={"default": None},
        now=NOON,
    )

    running = states.count("running")
    assert status.queue_size + status.pending_dataset_builds + running == len(states)
    assert status.queue_wait_time_seconds is None or status.queue_wait_time_seconds >= 0
