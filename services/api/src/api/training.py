"""Training: ask for a new model, and see what is being trained."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import structlog
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncEngine

from api import queries
from api.core.training_status import TrainingRun, TrainingStatus, training_status
from api.events import Event
from api.parameters import Limit, StrategyFilter, StrategyId
from api.problems import documented
from api.settings import Settings
from common import tracing, training_runs
from common.errors import NotFound, Unusable
from common.messages import Symbol
from common.training_runs import Run

log = structlog.get_logger(__name__)


class Trigger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Train a model."""

    strategy_id: StrategyId | None = None
    """Without: the first strategy."""
    symbol: Symbol | None = None
    """Without: the first symbol."""


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

    409 while a training of the same strategy and symbol is not finished.
    """
    strategy_id, symbol = _chosen(data or Trigger(), settings)
    async with engine.begin() as connection:
        run = await training_runs.request(
            connection,
            strategy_id=strategy_id,
            symbol=symbol,
            trigger="manual",
            priority="HIGH",
            trace_id=tracing.current(),
        )
    log.info(Event.TRAINING_REQUESTED, strategy_id=strategy_id, symbol=symbol, run_id=str(run.run_id))
    return Triggered(
        triggered=True,
        message=f"training of strategy {strategy_id} on {symbol} requested",
        strategy_id=strategy_id,
        symbol=symbol,
        run_id=run.run_id,
    )


@get("/training/status", operation_id="GetTrainingStatus", summary="Training status", responses=documented())
async def status(engine: NamedDependency[AsyncEngine], strategy_id: StrategyFilter = None) -> TrainingStatus:
    """What is being trained, what waits for it, and how the finished runs ended."""
    async with engine.connect() as connection:
        unfinished = [
            _shown(run)
            for run in await training_runs.unfinished(connection)
            if strategy_id in (None, run.strategy_id)
        ]
        last = await queries.last_finished_training(connection, strategy_id)
        figures = await queries.training_figures(connection, strategy_id)
    return training_status(unfinished, last, figures, datetime.now(UTC))


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


def _shown(run: Run) -> TrainingRun:
    return msgspec.convert(run, TrainingRun, from_attributes=True)


def _chosen(wanted: Trigger, settings: Settings) -> tuple[str, str]:
    strategy_id = wanted.strategy_id or settings.strategies()[0]
    if strategy_id not in settings.strategies():
        raise NotFound("no such strategy: TRADING_STRATEGIES names those that there are")
    symbol = wanted.symbol or next(iter(settings.trading_symbols), None)
    if symbol is None:
        raise Unusable("name a symbol: TRADING_SYMBOLS is empty, so there is no first one")
    if settings.trading_symbols and symbol not in settings.trading_symbols:
        raise NotFound("no such symbol: TRADING_SYMBOLS names those that there are")
    return strategy_id, symbol
