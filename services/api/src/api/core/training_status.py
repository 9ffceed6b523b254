"""Training status: what is being trained, what waits for it and since when, what comes next by itself."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from common.core.training_queue import TrainingFigures, turn
from common.core.training_schedule import Schedule, next_training

WAITING = ("requested", "ready")
"""States in which a run waits for a trainer; `building` waits for the Feature Service."""


class TrainingRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as the API shows it."""

    run_id: UUID
    strategy_id: str
    symbol: str
    trigger: str
    priority: str
    state: str
    requested_at: datetime
    requested_by: str
    started_at: datetime | None
    finished_at: datetime | None
    dataset_id: UUID | None
    attempts: int
    """How often a fit was begun."""
    recoveries: int
    """How often it was taken over from a trainer that went silent."""
    reason: str | None
    """Why it ended as it did, or what it waits for."""
    figures: dict[str, Any] | None
    progress: dict[str, Any] | None
    version: str | None
    """The version that came of it."""
    cancel_requested_at: datetime | None
    cancel_actor: str | None
    cancel_reason: str | None
    trace_id: str


class TrainingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /training/status` answers."""

    is_training: bool
    current_training: TrainingRun | None
    """The run that is fitting a model; of several the one that started first."""
    last_training: TrainingRun | None
    """The run that ended last, however it ended."""
    next_scheduled_training: datetime | None
    """When the next strategy with a version is due; null: none has one, and first trainings come unasked."""
    queue_size: int
    """Runs that wait for a trainer."""
    queue_wait_time_seconds: float | None
    """How long the next of them has waited; null: none waits."""
    next_queued_training_strategy_id: str | None
    pending_dataset_builds: int
    metrics: TrainingFigures


def training_status(
    unfinished: Sequence[TrainingRun],
    last: TrainingRun | None,
    figures: TrainingFigures,
    *,
    scheduled: datetime | None,
    now: datetime,
) -> TrainingStatus:
    """The status that follows from the runs that are `unfinished` and the one that ended `last`."""
    running = sorted(
        (run for run in unfinished if run.state == "running"), key=lambda run: run.started_at or now
    )
    waiting = sorted(
        (run for run in unfinished if run.state in WAITING),
        key=lambda run: turn(run.priority, run.requested_at, now),
    )
    following = waiting[0] if waiting else None
    return TrainingStatus(
        is_training=bool(running),
        current_training=running[0] if running else None,
        last_training=last,
        next_scheduled_training=scheduled,
        queue_size=len(waiting),
        queue_wait_time_seconds=(
            max((now - following.requested_at).total_seconds(), 0.0) if following else None
        ),
        next_queued_training_strategy_id=following.strategy_id if following else None,
        pending_dataset_builds=sum(run.state == "building" for run in unfinished),
        metrics=figures,
    )


def next_scheduled(
    schedules: Mapping[str, Schedule], last_trained_at: Mapping[str, datetime], now: datetime
) -> datetime | None:
    """When the first of the strategies that have a version is due; `now` where one is overdue."""
    instants = [
        max(now, next_training(schedule, last_trained_at[strategy_id]))
        for strategy_id, schedule in schedules.items()
        if strategy_id in last_trained_at
    ]
    return min(instants, default=None)
