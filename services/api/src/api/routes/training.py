"""Training, the commands: ask for a new model or a dataset alone, and call one off."""

from typing import Annotated
from uuid import UUID

import msgspec
import structlog
from litestar import post
from litestar.di import NamedDependency
from litestar.exceptions import TooManyRequestsException
from litestar.params import FromPath, HeaderParameter, JSONBody
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api import audit
from api.core.training_status import TrainingRun
from api.core.versions import Objection
from api.events import Event
from api.parameters import ACTOR, Actor, Reason, StrategyId
from api.problems import Refused, documented
from api.queries.trainings import shown
from api.settings import Settings
from common import tracing, training_runs
from common.core.training_queue import Priority
from common.errors import NotFound, Unusable
from common.messages import Symbol
from common.training_runs import KeyReused, QueueDisabled, QueueFull, Run

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 60
"""When to ask a full queue again, in seconds: trainings end in minutes."""

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=100,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key asks for the same run: sent again, it answers with that one.",
    ),
]


class DatasetWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Build a dataset."""

    strategy_id: StrategyId | None = None
    """Whose periods, target and horizon it has; without: the first strategy."""
    symbol: Symbol | None = None
    """Without: the strategy's first symbol."""
    actor: Actor = ACTOR
    """Who asks; kept with the run."""


class Trigger(DatasetWanted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Train a model."""

    priority: Priority = "HIGH"
    """CRITICAL goes before HIGH, HIGH before NORMAL; 30 minutes of waiting make up for one step."""


class Cancellation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Call the training off."""

    reason: Reason
    """Kept with the run."""
    actor: Actor = ACTOR
    """Who calls it off; kept with the run."""


class Triggered(msgspec.Struct, frozen=True, kw_only=True):
    """A run was requested."""

    triggered: bool
    """Always true: a refusal is an error."""
    message: str
    """For people."""
    strategy_id: str
    symbol: str
    run_id: UUID
    """What to watch or cancel."""


@post(
    "/training/trigger",
    operation_id="TriggerTraining",
    summary="Request a training",
    status_code=202,
    responses=documented(404, 409, 413, 422, 429),
)
async def trigger(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    data: JSONBody[Trigger | None] = None,
    key: IdempotencyKey = None,
) -> Triggered:
    """A trainer trains a new version of the strategy on the symbol, as soon as one is free.

    One of the same strategy and symbol that waits and is less urgent becomes as urgent instead. 409 while one
    runs or waits that is no less urgent (`conflict`), while any training is not finished if there is no queue
    (`queue_disabled`), and for a key of another request (`idempotency_key_reused`). 429 where the queue is
    full (`queue_full`); Retry-After says when to ask again.
    """
    wanted = data or Trigger()
    return await _requested(engine, settings, _chosen(wanted, settings), wanted.priority, key)


@post(
    "/training/datasets",
    operation_id="BuildDataset",
    summary="Request a dataset alone",
    status_code=202,
    responses=documented(404, 409, 413, 422, 429),
)
async def build_dataset(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    data: JSONBody[DatasetWanted | None] = None,
    key: IdempotencyKey = None,
) -> Triggered:
    """The Feature Service builds a dataset as a training of the strategy would have it; nothing is trained.

    The run waits in the queue of the trainings, with priority NORMAL and the same refusals. It has succeeded
    once the dataset is ready: it then names `dataset_id` and, in `figures.records`, the rows of each split.
    """
    wanted = data or DatasetWanted()
    return await _requested(engine, settings, _chosen(wanted, settings), "NORMAL", key, dataset_only=True)


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
        await audit.record(
            connection,
            "cancel_training",
            f"run:{run_id}",
            actor=data.actor,
            reason=data.reason,
            details={"strategy_id": run.strategy_id, "symbol": run.symbol},
        )
    log.info(
        Event.TRAINING_CANCELLED,
        run_id=str(run_id),
        strategy_id=run.strategy_id,
        symbol=run.symbol,
        actor=data.actor,
        reason=data.reason,
    )
    return shown(run)


class _Chosen(msgspec.Struct, frozen=True):
    strategy_id: str
    symbol: str
    actor: str


async def _requested(
    engine: AsyncEngine,
    settings: Settings,
    chosen: _Chosen,
    priority: Priority,
    key: str | None,
    *,
    dataset_only: bool = False,
) -> Triggered:
    strategy_id, symbol = chosen.strategy_id, chosen.symbol
    try:
        async with engine.begin() as connection:
            run = await _run(connection, settings, chosen, priority, key, dataset_only=dataset_only)
    except QueueFull as error:
        raise TooManyRequestsException(
            str(error), extra={"code": "queue_full"}, headers={"Retry-After": str(RETRY_AFTER_S)}
        ) from error
    except QueueDisabled as error:
        raise Refused(Objection("queue_disabled", str(error))) from error
    except KeyReused as error:
        raise Refused(Objection("idempotency_key_reused", str(error))) from error
    event = Event.DATASET_REQUESTED if dataset_only else Event.TRAINING_REQUESTED
    log.info(event, strategy_id=strategy_id, symbol=symbol, run_id=str(run.run_id))
    what = "dataset" if dataset_only else "training"
    return Triggered(
        triggered=True,
        message=f"{what} of strategy {strategy_id} on {symbol} requested",
        strategy_id=strategy_id,
        symbol=symbol,
        run_id=run.run_id,
    )


async def _run(
    connection: AsyncConnection,
    settings: Settings,
    chosen: _Chosen,
    priority: Priority,
    key: str | None,
    *,
    dataset_only: bool,
) -> Run:
    strategy_id, symbol = chosen.strategy_id, chosen.symbol
    if key:
        before = await training_runs.requested_before(
            connection, key, strategy_id=strategy_id, symbol=symbol, dataset_only=dataset_only
        )
        if before:
            return before
    run = await training_runs.request(
        connection,
        strategy_id=strategy_id,
        symbol=symbol,
        trigger="manual",
        priority=priority,
        trace_id=tracing.current(),
        requested_by=chosen.actor,
        rules=settings.queue_rules(),
        idempotency_key=key,
        dataset_only=dataset_only,
    )
    await audit.record(
        connection,
        "build_dataset" if dataset_only else "trigger_training",
        f"strategy:{strategy_id}",
        actor=chosen.actor,
        details={"run_id": str(run.run_id), "symbol": symbol, "priority": priority},
    )
    return run


def _chosen(wanted: DatasetWanted, settings: Settings) -> _Chosen:
    strategy_id = wanted.strategy_id or settings.strategies()[0]
    if strategy_id not in settings.strategies():
        raise NotFound("no such strategy: TRADING_STRATEGIES names those that there are")
    symbols = settings.symbols_of(strategy_id)
    symbol = wanted.symbol or next(iter(symbols), None)
    if symbol is None:
        raise Unusable("name a symbol: TRADING_SYMBOLS is empty, so there is no first one")
    if symbols and symbol not in symbols:
        raise NotFound("no such symbol: TRADING_SYMBOLS names those that there are")
    return _Chosen(strategy_id, symbol, wanted.actor)
