"""How the training queue fares: figures from its rows, the same for every replica and after a restart."""

from datetime import datetime

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Double, cast, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.training_queue import TrainingFigures
from common.tables import training_runs
from common.training_runs import WAITING, Run, State, run_of

_columns = training_runs.c


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """The queue as it is."""

    waiting: int
    """Runs that take room in the queue."""
    building: int
    running: int
    oldest_wait_seconds: float
    """How long the run has waited that waits longest; 0: none waits."""


async def training_figures(connection: AsyncConnection, strategy_id: str | None = None) -> TrainingFigures:
    """How the trainings went, of the strategy or of all; runs for a dataset alone are none."""
    of_strategy = [~_columns.dataset_only]
    if strategy_id is not None:
        of_strategy.append(_columns.strategy_id == strategy_id)

    def ended(state: State) -> ColumnElement[int]:
        return func.count().filter(_columns.state == state)

    succeeded, counted = _columns.state == State.SUCCEEDED, _columns.state != State.CANCELLED
    over = func.count().filter(_columns.finished_at.is_not(None), counted)
    duration_s = func.extract("epoch", _columns.finished_at - _columns.started_at)
    wait_s = func.extract("epoch", _columns.started_at - _columns.requested_at)
    row = await connection.execute(
        select(
            func.count().filter(_columns.finished_at.is_not(None)).label("total_runs"),
            ended(State.SUCCEEDED).label("succeeded"),
            ended(State.REJECTED).label("rejected"),
            ended(State.FAILED).label("failed"),
            ended(State.CANCELLED).label("cancelled"),
            cast(func.coalesce(func.sum(_columns.recoveries), 0), BigInteger).label("recovered"),
            cast(cast(ended(State.SUCCEEDED), Double) / func.nullif(over, 0), Double).label("success_rate"),
            cast(func.avg(duration_s).filter(succeeded), Double).label("average_duration_seconds"),
            cast(func.max(duration_s).filter(succeeded), Double).label("max_duration_seconds"),
            cast(func.avg(wait_s), Double).label("average_wait_seconds"),
            cast(func.max(wait_s), Double).label("max_wait_seconds"),
        ).where(*of_strategy)
    )
    depth = await _max_depth(connection, of_strategy)
    return msgspec.convert({**row.mappings().one(), "max_queue_depth": depth}, TrainingFigures)


async def queue_state(connection: AsyncConnection) -> QueueState:
    """The queue over all strategies."""
    waiting = _columns.state.in_(WAITING)
    wait_s = func.extract("epoch", func.now() - func.min(_columns.requested_at).filter(waiting))
    row = await connection.execute(
        select(
            func.count().filter(waiting).label("waiting"),
            func.count().filter(_columns.state == State.BUILDING).label("building"),
            func.count().filter(_columns.state == State.RUNNING).label("running"),
            cast(func.coalesce(wait_s, 0), Double).label("oldest_wait_seconds"),
        ).where(_columns.finished_at.is_(None))
    )
    return msgspec.convert(row.mappings().one(), QueueState)


async def last_ends(connection: AsyncConnection) -> list[Run]:
    """Each strategy's training that ended last and was not cancelled."""
    rows = await connection.execute(
        select(training_runs)
        .ext(distinct_on(_columns.strategy_id))
        .where(_columns.finished_at.is_not(None), _columns.state != State.CANCELLED, ~_columns.dataset_only)
        .order_by(_columns.strategy_id, _columns.finished_at.desc())
    )
    return [run_of(row) for row in rows.mappings()]


# Every request is a step up, every beginning (or end before it) a step down: the highest point of the stairs.
async def _max_depth(connection: AsyncConnection, of_strategy: list[ColumnElement[bool]]) -> int:
    gone: ColumnElement[datetime] = func.coalesce(_columns.started_at, _columns.finished_at)
    steps = union_all(
        select(_columns.requested_at.label("at"), literal(1).label("step")).where(*of_strategy),
        select(gone, literal(-1)).where(gone.is_not(None), *of_strategy),
    ).subquery()
    depth = func.sum(steps.c.step).over(order_by=(steps.c.at, steps.c.step)).label("depth")
    depths = select(depth).subquery()
    return int(await connection.scalar(select(func.coalesce(func.max(depths.c.depth), 0))) or 0)
