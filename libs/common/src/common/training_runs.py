"""Trainings: the queue that the API and the trainer write, and how each run ended.

A strategy and symbol have at most one run that is not finished. How a run moves on is the trainer's.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import ColumnElement, RowMapping, case, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.training_queue import AGING, PRIORITIES, Priority
from common.errors import Conflict, NotFound
from common.tables import model_versions, training_runs

Trigger = Literal["bootstrap", "manual", "schedule", "degradation"]


class State(StrEnum):
    """Where a run stands."""

    REQUESTED = "requested"
    BUILDING = "building"
    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (State.REQUESTED, State.BUILDING, State.READY, State.RUNNING)
WAITING = (State.REQUESTED, State.BUILDING, State.READY)
"""States that take room in the queue."""
SERVED = (State.SUCCEEDED, State.REJECTED, State.CANCELLED)
"""Ends after which a schedule waits for its next time; a failed run is tried again before."""

_REQUESTS_LOCK = 0x666C6F74
"""Whoever counts the queue and then adds to it holds this, for the transaction."""

_columns = training_runs.c


class QueueFull(Conflict):
    """As many trainings wait as TRAINING_QUEUE_MAX_SIZE allows: wait, or cancel one of them."""


class QueueDisabled(Conflict):
    """Nothing waits while TRAINING_QUEUE_ENABLED is false: ask again once the training has ended."""


class KeyReused(Conflict):
    """The idempotency key is that of another request: take a fresh one."""


class QueueRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a request must keep to."""

    enabled: bool = True
    max_size: int = 10
    """Runs that may wait."""
    force_cancel_on_critical: bool = False


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One training: what was asked for, where it stands, how it ended."""

    run_id: UUID
    strategy_id: str
    symbol: str
    trigger: Trigger
    priority: Priority
    state: State
    requested_at: datetime
    requested_by: str
    updated_at: datetime
    started_at: datetime | None
    """When a trainer first took it."""
    finished_at: datetime | None
    dataset_id: UUID | None
    dataset_deadline: datetime | None
    """The build is given up at this instant."""
    owner: str | None
    """The trainer that works on it."""
    lease_until: datetime | None
    fence: int
    attempts: int
    """How often a fit was begun."""
    recoveries: int
    """How often its trainer went silent."""
    reason: str | None
    """Why it ended as it did, or what it waits for."""
    figures: dict[str, Any] | None
    progress: dict[str, Any] | None
    version: str | None
    cancel_requested_at: datetime | None
    cancel_actor: str | None
    cancel_reason: str | None
    trace_id: str
    dataset_only: bool
    """It ends with its dataset: nothing is trained."""


async def requested_before(
    connection: AsyncConnection, key: str, *, strategy_id: str, symbol: str, dataset_only: bool = False
) -> Run | None:
    """The run that the same request, under the same key, led to; None: there was none, and none comes beside.

    Raises KeyReused where the key is that of a request for something else.
    """
    await _lock_requests(connection)
    rows = await connection.execute(select(training_runs).where(_columns.idempotency_key == key))
    row = rows.mappings().first()
    if row is None:
        return None
    run = run_of(row)
    if (run.strategy_id, run.symbol, run.dataset_only) != (strategy_id, symbol, dataset_only):
        raise KeyReused(f"the key is that of run {run.run_id}, which was another request")
    return run


async def request(
    connection: AsyncConnection,
    *,
    strategy_id: str,
    symbol: str,
    trigger: Trigger,
    priority: Priority,
    trace_id: str,
    requested_by: str = "trainer",
    rules: QueueRules = QueueRules(),  # noqa: B008 - frozen
    idempotency_key: str | None = None,
    dataset_only: bool = False,
) -> Run:
    """The run that waits for a trainer: a new one, or the same strategy and symbol's, made as urgent.

    The run remembers `idempotency_key` unless it has one already. Raises Conflict where one of the same
    strategy and symbol is running, or waits and is no less urgent; QueueDisabled and QueueFull where the
    rules say so. Then the transaction has to be rolled back.
    """
    await _lock_requests(connection)
    if rules.force_cancel_on_critical and priority == "CRITICAL":
        await _make_way(connection, strategy_id, actor=requested_by)
    waiting = await unfinished(connection)
    if waiting and not rules.enabled:
        raise QueueDisabled(
            f"a training of strategy {waiting[0].strategy_id} is not finished yet,"
            " and nothing waits while TRAINING_QUEUE_ENABLED is false"
        )
    for run in waiting:
        if (run.strategy_id, run.symbol) == (strategy_id, symbol):
            return await _raised(connection, run, priority, idempotency_key, dataset_only=dataset_only)
    size = sum(run.state in WAITING for run in waiting)
    if size >= rules.max_size:
        raise QueueFull(
            f"the queue is full: {size} trainings wait, TRAINING_QUEUE_MAX_SIZE is {rules.max_size}"
        )
    rows = await connection.execute(
        insert(training_runs)
        .values(
            run_id=uuid4(),
            strategy_id=strategy_id,
            symbol=symbol,
            trigger=trigger,
            priority=priority,
            state=State.REQUESTED,
            requested_by=requested_by,
            trace_id=trace_id,
            idempotency_key=idempotency_key,
            dataset_only=dataset_only,
        )
        .returning(training_runs)
    )
    return run_of(rows.mappings().one())


async def cancel(connection: AsyncConnection, run_id: UUID, *, actor: str, reason: str) -> Run:
    """The run has ended as cancelled: no result of it will be stored, and its trainer ends the fit.

    While that takes, the run keeps its place among the running ones. Raises NotFound, and Conflict where it
    has ended.
    """
    rows = await connection.execute(
        update(training_runs)
        .where(_columns.run_id == run_id, _columns.state.in_(UNFINISHED))
        .values(_cancelled(actor, reason))
        .returning(training_runs)
    )
    if row := rows.mappings().first():
        return run_of(row)
    ended = await find(connection, run_id)
    if ended is None:
        raise NotFound("no such run")
    raise Conflict(f"the run has ended already: {ended.state}")


async def find(connection: AsyncConnection, run_id: UUID) -> Run | None:
    """The run of that id."""
    rows = await connection.execute(select(training_runs).where(_columns.run_id == run_id))
    row = rows.mappings().first()
    return run_of(row) if row else None


async def recent(connection: AsyncConnection, strategy_id: str | None = None, limit: int = 20) -> list[Run]:
    """The newest runs first, finished or not; of one strategy where it is named."""
    question = select(training_runs).order_by(_columns.requested_at.desc()).limit(limit)
    if strategy_id is not None:
        question = question.where(_columns.strategy_id == strategy_id)
    return [run_of(row) for row in (await connection.execute(question)).mappings()]


async def unfinished(connection: AsyncConnection) -> list[Run]:
    """Every run that waits or works, the oldest first."""
    question = select(training_runs).where(_columns.state.in_(UNFINISHED)).order_by(_columns.requested_at)
    return [run_of(row) for row in (await connection.execute(question)).mappings()]


async def last_trainings(connection: AsyncConnection) -> dict[str, datetime]:
    """When each strategy that has a version was trained last, or a training of it was called off."""
    versions = model_versions.c
    strategy_id = func.coalesce(versions.strategy_id, "default")
    trained = await connection.execute(
        select(strategy_id, func.max(versions.trained_at))
        .where(versions.sha256.is_not(None))
        .group_by(strategy_id)
    )
    served = await connection.execute(
        select(_columns.strategy_id, func.max(_columns.finished_at))
        .where(_columns.state.in_(SERVED), ~_columns.dataset_only)
        .group_by(_columns.strategy_id)
    )
    last = {name: instant.replace(tzinfo=UTC) for name, instant in trained}
    return last | {name: max(instant, last[name]) for name, instant in served if name in last}


def turn() -> tuple[ColumnElement[Any], ...]:
    """Orders runs by whose turn it is, as `common.core.training_queue.turn` does."""
    waited_s = func.extract("epoch", func.now() - _columns.requested_at)
    rank = case({name: rank for rank, name in enumerate(PRIORITIES)}, value=_columns.priority)
    aged = rank - func.floor(func.greatest(waited_s, 0) / AGING.total_seconds())
    return func.greatest(aged, 0), _columns.requested_at


def run_of(row: RowMapping) -> Run:
    """A row of training_runs as a Run."""
    return msgspec.convert(row, Run)


async def _lock_requests(connection: AsyncConnection) -> None:
    await connection.execute(select(func.pg_advisory_xact_lock(_REQUESTS_LOCK)))


async def _make_way(connection: AsyncConnection, strategy_id: str, *, actor: str) -> None:
    await connection.execute(
        update(training_runs)
        .where(
            _columns.strategy_id == strategy_id,
            _columns.state == State.RUNNING,
            _columns.priority != "CRITICAL",
        )
        .values(_cancelled(actor, "a CRITICAL training was requested (TRAINING_FORCE_CANCEL_ON_CRITICAL)"))
    )


async def _raised(
    connection: AsyncConnection, run: Run, priority: Priority, key: str | None, *, dataset_only: bool
) -> Run:
    more_urgent = PRIORITIES.index(priority) < PRIORITIES.index(run.priority)
    if more_urgent and run.dataset_only == dataset_only:
        rows = await connection.execute(
            update(training_runs)
            .where(_columns.run_id == run.run_id, _columns.state.in_(WAITING))
            .values(
                priority=priority,
                idempotency_key=func.coalesce(_columns.idempotency_key, key),
                updated_at=func.now(),
            )
            .returning(training_runs)
        )
        if row := rows.mappings().first():
            return run_of(row)
    what = "dataset" if run.dataset_only else "training"
    raise Conflict(f"a {what} of strategy {run.strategy_id} on {run.symbol} is not finished yet")


# A running one keeps owner and lease: until its trainer lets go, the fit may still be using its place.
def _cancelled(actor: str, reason: str) -> dict[str, Any]:
    running = _columns.state == State.RUNNING
    return {
        "state": State.CANCELLED,
        "cancel_requested_at": func.now(),
        "cancel_actor": actor,
        "cancel_reason": reason,
        "reason": f"cancelled by {actor}: {reason}",
        "finished_at": func.now(),
        "updated_at": func.now(),
        "progress": None,
        "owner": case((running, _columns.owner)),
        "lease_until": case((running, _columns.lease_until)),
        "fence": _columns.fence + 1,
    }
