"""Training status: what is being trained, what waits for it and since when, what comes next by itself."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import msgspec

from common.core.training_queue import TrainingFigures, turn
from common.core.training_schedule import Schedule, next_training

WAITING = ("requested", "ready")
"""States in which a run waits for a trainer; `building` waits for the Feature Service."""
FORESEEN = 5
"""How many of a strategy's next trainings are told."""


class TrainingRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as the API shows it."""

    run_id: UUID
    strategy_id: str
    symbol: str
    trigger: str
    """What asked for it: bootstrap, manual, schedule or degradation."""
    priority: str
    """CRITICAL, HIGH or NORMAL."""
    state: str
    """requested, building (its dataset), ready, running, succeeded, rejected, failed or cancelled."""
    requested_at: datetime
    requested_by: str
    """Who asked for it."""
    started_at: datetime | None
    """When a trainer first took it; null: none has."""
    finished_at: datetime | None
    """Null: it has not ended."""
    dataset_id: UUID | None
    """The Feature Service's; null: it is not ordered yet."""
    dataset_only: bool
    """It ends with its dataset; nothing is trained."""
    attempts: int
    """How often a fit was begun."""
    recoveries: int
    """How often it was taken over from a trainer that went silent."""
    reason: str | None
    """Why it ended as it did, or what it waits for."""
    figures: dict[str, Any] | None
    """What came of it; null: nothing yet."""
    progress: dict[str, Any] | None
    """How far the step is that it is in; null: it is in none."""
    version: str | None
    """The version that came of it."""
    cancel_requested_at: datetime | None
    """Null: nobody called it off."""
    cancel_actor: str | None
    """Who called it off."""
    cancel_reason: str | None
    """Why, in the words of who called it off."""
    trace_id: str


class StrategyTraining(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy's part of the training status."""

    strategy_id: str
    is_training: bool
    """One of its runs is fitting a model."""
    last_training: TrainingRun | None
    """Its run that ended last, however it ended."""
    next_scheduled_training: datetime | None
    """Null: it has no version; its first training comes unasked."""
    queued: int
    """Its runs that wait, for a dataset or for a trainer."""


class TrainingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /training/status` answers."""

    is_training: bool
    """A run is fitting a model."""
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
    """Whose run comes next; null: none waits."""
    pending_dataset_builds: int
    """Runs whose dataset is being built."""
    metrics: TrainingFigures
    """How the runs went that there have been."""
    strategies: list[StrategyTraining]
    """Every strategy that is traded."""


class ScheduledTraining(msgspec.Struct, frozen=True, kw_only=True):
    """When a strategy is trained again by itself."""

    strategy_id: str
    expression: str | None
    """Five cron fields in UTC, or hourly, daily, weekly; null: the interval alone counts."""
    interval_days: float
    """Days from one training to the next, where there is no expression."""
    last_trained_at: datetime | None
    """When a training last came to an end that counts; null: the strategy has no version."""
    next_at: list[datetime]
    """The next times, the soonest first; empty where `reason` says why."""
    reason: str
    """What the times follow from, in a sentence."""


def training_status(
    unfinished: Sequence[TrainingRun],
    last: Mapping[str, TrainingRun],
    figures: TrainingFigures,
    *,
    scheduled: Mapping[str, datetime | None],
    now: datetime,
) -> TrainingStatus:
    """The status that follows from the runs that are `unfinished` and those that ended `last`, by strategy.

    `scheduled` names the strategies that are traded, each with the time of its next training.
    """
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
        last_training=max(last.values(), key=lambda run: run.finished_at or run.requested_at, default=None),
        next_scheduled_training=min(filter(None, scheduled.values()), default=None),
        queue_size=len(waiting),
        queue_wait_time_seconds=(
            max((now - following.requested_at).total_seconds(), 0.0) if following else None
        ),
        next_queued_training_strategy_id=following.strategy_id if following else None,
        pending_dataset_builds=sum(run.state == "building" for run in unfinished),
        metrics=figures,
        strategies=[
            StrategyTraining(
                strategy_id=strategy_id,
                is_training=any(run.strategy_id == strategy_id for run in running),
                last_training=last.get(strategy_id),
                next_scheduled_training=scheduled[strategy_id],
                queued=sum(
                    run.strategy_id == strategy_id and run.state in (*WAITING, "building")
                    for run in unfinished
                ),
            )
            for strategy_id in scheduled
        ],
    )


def next_times(schedule: Schedule, last_trained_at: datetime | None, now: datetime) -> Iterator[datetime]:
    """When a strategy is trained next, and again after that; `now` first where it is overdue.

    Without a version it has no such time: a first training is requested as soon as it can be.
    """
    if last_trained_at is None:
        return
    following = max(now, next_training(schedule, last_trained_at))
    while True:
        yield following
        following = next_training(schedule, following)


def scheduled_training(
    strategy_id: str,
    schedule: Schedule,
    last_trained_at: datetime | None,
    *,
    symbol: str | None,
    now: datetime,
) -> ScheduledTraining:
    """What the schedule makes of a strategy that is trained on `symbol`; None: on none."""
    times = list(islice(next_times(schedule, last_trained_at, now), FORESEEN)) if symbol else []
    if symbol is None:
        reason = "no symbol is named for it in TRADING_SYMBOLS, so it is trained only when somebody asks"
    elif not times:
        reason = "it has no version: its first training is requested as soon as the queue takes it"
    elif times[0] == now:
        reason = "it is overdue: a training is requested as soon as the queue takes it"
    elif schedule.expression is None:
        reason = f"{schedule.interval_days:g} days after the last training (MODEL_RETRAINING_INTERVAL_DAYS)"
    else:
        reason = f"by MODEL_RETRAINING_SCHEDULE={schedule.expression}, in UTC"
    return ScheduledTraining(
        strategy_id=strategy_id,
        expression=schedule.expression,
        interval_days=schedule.interval_days,
        last_trained_at=last_trained_at,
        next_at=times,
        reason=reason,
    )
