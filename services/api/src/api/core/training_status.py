"""Training status: what is being trained, what waits for it, and since when."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

PRIORITIES = ("CRITICAL", "HIGH", "NORMAL")
"""Most urgent first."""
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
    started_at: datetime | None
    finished_at: datetime | None
    dataset_id: UUID | None
    reason: str | None
    """Why it was rejected, failed or cancelled."""
    figures: dict[str, Any] | None
    progress: dict[str, Any] | None
    version: str | None
    """The version that came of it."""
    trace_id: str


class TrainingFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How the finished runs ended."""

    total_runs: int
    succeeded: int
    rejected: int
    failed: int
    cancelled: int
    average_duration_seconds: float | None
    """Start to finish of those that succeeded; null: none did."""


class TrainingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /training/status` answers."""

    is_training: bool
    current_training: TrainingRun | None
    """The run that is fitting a model; of several the one that started first."""
    last_training: TrainingRun | None
    """The run that ended last, however it ended."""
    next_scheduled_training: datetime | None
    """Null: nothing is scheduled."""
    queue_size: int
    """Runs that wait for a trainer."""
    queue_wait_time_seconds: float | None
    """How long the next of them has waited; null: none waits."""
    next_queued_training_strategy_id: str | None
    pending_dataset_builds: int
    metrics: TrainingFigures


def training_status(
    unfinished: Sequence[TrainingRun], last: TrainingRun | None, figures: TrainingFigures, now: datetime
) -> TrainingStatus:
    """The status that follows from the runs that are `unfinished` and the one that ended `last`."""
    running = sorted(
        (run for run in unfinished if run.state == "running"), key=lambda run: run.started_at or now
    )
    waiting = sorted((run for run in unfinished if run.state in WAITING), key=_turn)
    following = waiting[0] if waiting else None
    return TrainingStatus(
        is_training=bool(running),
        current_training=running[0] if running else None,
        last_training=last,
        next_scheduled_training=None,
        queue_size=len(waiting),
        queue_wait_time_seconds=(
            max((now - following.requested_at).total_seconds(), 0.0) if following else None
        ),
        next_queued_training_strategy_id=following.strategy_id if following else None,
        pending_dataset_builds=sum(run.state == "building" for run in unfinished),
        metrics=figures,
    )


def _turn(run: TrainingRun) -> tuple[int, datetime]:
    return PRIORITIES.index(run.priority), run.requested_at
