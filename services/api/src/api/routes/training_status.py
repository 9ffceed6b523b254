"""Training as it stands: what is being trained, what waits, how runs ended, what comes next by itself."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.training_status import (
    ScheduledTraining,
    TrainingRun,
    TrainingStatus,
    next_times,
    scheduled_training,
    training_status,
)
from api.parameters import Limit, Offset, StrategyFilter
from api.problems import documented
from api.queries import trainings
from api.settings import Settings
from common import training_runs
from common.errors import NotFound
from common.training_figures import training_figures
from common.training_runs import State

StateFilter = Annotated[State | None, QueryParameter(name="state", description="Only runs that stand there.")]


class TrainingRuns(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs, the one that was requested last first."""

    items: list[TrainingRun]
    total: int
    limit: int
    offset: int


class TrainingSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Every strategy's next trainings."""

    items: list[ScheduledTraining]
    total: int


@get("/training/status", operation_id="GetTrainingStatus", summary="Training status", responses=documented())
async def status(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    strategy_id: StrategyFilter = None,
) -> TrainingStatus:
    """What is being trained, what waits for it, and how the finished runs ended; also by strategy."""
    async with engine.connect() as connection:
        unfinished = [
            trainings.shown(run)
            for run in await training_runs.unfinished(connection)
            if strategy_id in (None, run.strategy_id)
        ]
        last = await trainings.last_finished(connection, strategy_id)
        figures = await training_figures(connection, strategy_id)
        trained = await training_runs.last_trainings(connection)
    now = datetime.now(UTC)
    scheduled = {
        name: next(next_times(settings.of_strategy(name).schedule(), trained.get(name), now), None)
        for name in settings.strategies()
        if strategy_id in (None, name)
    }
    return training_status(unfinished, last, figures, scheduled=scheduled, now=now)


@get(
    "/training/schedule",
    operation_id="GetTrainingSchedule",
    summary="When strategies are trained again",
    responses=documented(),
)
async def schedule(
    engine: NamedDependency[AsyncEngine], settings: NamedDependency[Settings]
) -> TrainingSchedule:
    """The next times of every strategy, and what they follow from.

    A training that fails is asked for again before, with growing pauses; a degraded version is trained at
    once.
    """
    async with engine.connect() as connection:
        trained = await training_runs.last_trainings(connection)
    now = datetime.now(UTC)
    items = [
        scheduled_training(
            name,
            settings.of_strategy(name).schedule(),
            trained.get(name),
            symbol=next(iter(settings.symbols_of(name)), None),
            now=now,
        )
        for name in settings.strategies()
    ]
    return TrainingSchedule(items=items, total=len(items))


@get("/training/runs", operation_id="ListTrainingRuns", summary="List runs", responses=documented())
async def list_runs(
    engine: NamedDependency[AsyncEngine],
    strategy_id: StrategyFilter = None,
    in_state: StateFilter = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> TrainingRuns:
    """Runs, finished or not; the one that was requested last first."""
    async with engine.connect() as connection:
        found, total = await trainings.runs(
            connection, strategy_id=strategy_id, state=in_state, limit=limit, offset=offset
        )
    return TrainingRuns(items=found, total=total, limit=limit, offset=offset)


@get(
    "/training/runs/{run_id:uuid}",
    operation_id="GetTrainingRun",
    summary="One run",
    responses=documented(404),
)
async def get_run(engine: NamedDependency[AsyncEngine], run_id: FromPath[UUID]) -> TrainingRun:
    """A run: what was asked for, where it stands with its progress, how it ended with its figures."""
    async with engine.connect() as connection:
        found = await training_runs.find(connection, run_id)
    if found is None:
        raise NotFound("no such run")
    return trainings.shown(found)
