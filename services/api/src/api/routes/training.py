"""Training: ask for a new model, call one off, and see what is being trained."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import structlog
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.training_status import TrainingRun, TrainingStatus, next_scheduled, training_status
from api.core.versions import Objection
from api.events import Event
from api.parameters import ACTOR, Actor, Limit, Reason, StrategyFilter, StrategyId
from api.problems import Refused, documented
from api.queries.trainings import last_finished_training
from api.settings import Settings
from common import tracing, training_runs
from common.core.training_queue import Priority
from common.errors import NotFound, Unusable
from common.messages import Symbol
from common.training_figures import training_figures
from common.training_runs import QueueDisabled, QueueFull, Run

log = structlog.get_logger(__name__)


class Trigger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Train a model."""

    strategy_id: StrategyId | None = None
    """Without: the first strategy."""
    symbol: Symbol | None = None
    """Without: the strategy's first symbol."""
    priority: Priority = "HIGH"
    """CRITICAL goes before HIGH, HIGH before NORMAL; 30 minutes of waiting make up for one step."""
    actor: Actor = ACTOR
    """Who asks; kept with the run."""


class Cancellation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Call the training off."""

    reason: Reason
    """Kept with the run."""
    actor: Actor = ACTOR
    """Who calls it off; kept with the run."""


class Triggered(msgspec.Struct, frozen=True, kw_only=True):
    """A training was requested."""

    triggered: bool
    message: str
    strategy_id: str
    symbol: str
    run_id: UUID


class TrainingRuns(msgspec.Struct, frozen=True, kw_only=True):
    """The run that was requested last first."""

    items: list[TrainingRun]
    limit: int


@post(
    "/training/trigger",
    operation_id="TriggerTraining",
    summary="Request a training",
    status_code=202,
    responses=documented(404, 409, 413, 422),
)
async def trigger(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    data: JSONBody[Trigger | None] = None,
) -> Triggered:
    """A trainer trains a new version of the strategy on the symbol, as soon as one is free.

    One of the same strategy and symbol that waits and is less urgent becomes as urgent instead. 409 while one
    runs or waits that is no less urgent (`conflict`), where the queue is full (`queue_full`), and while any
    training is not finished if there is no queue (`queue_disabled`).
    """
    wanted = data or Trigger()
    strategy_id, symbol = _chosen(wanted, settings)
    run = await _requested(engine, settings, wanted, strategy_id, symbol)
    log.info(Event.TRAINING_REQUESTED, strategy_id=strategy_id, symbol=symbol, run_id=str(run.run_id))
    return Triggered(
        triggered=True,
        message=f"training of strategy {strategy_id} on {symbol} requested",
        strategy_id=strategy_id,
        symbol=symbol,
        run_id=run.run_id,
    )


@get("/training/status", operation_id="GetTrainingStatus", summary="Training status", responses=documented())
async def status(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    strategy_id: StrategyFilter = None,
) -> TrainingStatus:
    """What is being trained, what waits for it, and how the finished runs ended."""
    schedules = {
        name: settings.of_strategy(name).schedule()
        for name in settings.strategies()
        if strategy_id in (None, name)
    }
    async with engine.connect() as connection:
        unfinished = [
            _shown(run)
            for run in await training_runs.unfinished(connection)
            if strategy_id in (None, run.strategy_id)
        ]
        last = await last_finished_training(connection, strategy_id)
        figures = await training_figures(connection, strategy_id)
        trained = await training_runs.last_trainings(connection)
    now = datetime.now(UTC)
    scheduled = next_scheduled(schedules, trained, now)
    return training_status(unfinished, last, figures, scheduled=scheduled, now=now)


@get("/training/runs", operation_id="ListTrainingRuns", summary="List runs", responses=documented())
async def list_runs(
    engine: NamedDependency[AsyncEngine], strategy_id: StrategyFilter = None, limit: Limit = 100
) -> TrainingRuns:
    """Runs, finished or not; the one that was requested last first."""
    async with engine.connect() as connection:
        found = await training_runs.recent(connection, strategy_id, limit)
    return TrainingRuns(items=[_shown(run) for run in found], limit=limit)


@get(
    "/training/runs/{run_id:uuid}",
    operation_id="GetTrainingRun",
    summary="One run",
    responses=documented(404),
)
async def get_run(engine: NamedDependency[AsyncEngine], run_id: FromPath[UUID]) -> TrainingRun:
    """A run: what was asked for, where it stands, how it ended."""
    async with engine.connect() as connection:
        found = await training_runs.find(connection, run_id)
    if found is None:
        raise NotFound("no such run")
    return _shown(found)


@post(
    "/training/runs/{run_id:uuid}/cancel",
    operation_id="CancelTrainingRun",
    summary="Cancel a run",
    status_code=200,
    responses=documented(404, 409, 413),
)
async def cancel_run(
    engine: NamedDependency[AsyncEngine], run_id: FromPath[UUID], data: JSONBody[Cancellation]
) -> TrainingRun:
    """The run has ended as cancelled, wherever it stood, and no version comes of it.

    Its trainer stops the fit within seconds. 409 when it had ended already.
    """
    async with engine.begin() as connection:
        run = await training_runs.cancel(connection, run_id, actor=data.actor, reason=data.reason)
    log.info(
        Event.TRAINING_CANCELLED,
        run_id=str(run_id),
        strategy_id=run.strategy_id,
        symbol=run.symbol,
        actor=data.actor,
        reason=data.reason,
    )
    return _shown(run)


async def _requested(
    engine: AsyncEngine, settings: Settings, wanted: Trigger, strategy_id: str, symbol: str
) -> Run:
    try:
        async with engine.begin() as connection:
            return await training_runs.request(
                connection,
                strategy_id=strategy_id,
                symbol=symbol,
                trigger="manual",
                priority=wanted.priority,
                trace_id=tracing.current(),
                requested_by=wanted.actor,
                rules=settings.queue_rules(),
            )
    except QueueFull as error:
        raise Refused(Objection("queue_full", str(error))) from error
    except QueueDisabled as error:
        raise Refused(Objection("queue_disabled", str(error))) from error


def _shown(run: Run) -> TrainingRun:
    return msgspec.convert(run, TrainingRun, from_attributes=True)


def _chosen(wanted: Trigger, settings: Settings) -> tuple[str, str]:
    strategy_id = wanted.strategy_id or settings.strategies()[0]
    if strategy_id not in settings.strategies():
        raise NotFound("no such strategy: TRADING_STRATEGIES names those that there are")
    symbols = settings.symbols_of(strategy_id)
    symbol = wanted.symbol or next(iter(symbols), None)
    if symbol is None:
        raise Unusable("name a symbol: TRADING_SYMBOLS is empty, so there is no first one")
    if symbols and symbol not in symbols:
        raise NotFound("no such symbol: TRADING_SYMBOLS names those that there are")
    return strategy_id, symbol
