"""How a training run moves on: who may work on it, until when, and what ends it.

Each step takes a row (SKIP LOCKED), which adds one to its fence; what the step found is stored only while the
row still has that fence. A lease says until when nobody else takes it; on a run that nobody works on it is
the pause before the next step. All times are the database's.
"""

from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common import tracing
from common import training_runs as queue
from common.tables import training_runs
from common.training_runs import UNFINISHED, Run, State, run_of
from trainer.core.triggers import History

LEASE_S = 15.0
"""How long a run belongs to a trainer that says nothing, in seconds."""
MAX_ATTEMPTS = 3
"""Fits begun for one run before it is given up."""

_columns = training_runs.c
_free = or_(_columns.lease_until.is_(None), _columns.lease_until < func.now())
_urgency = case({"CRITICAL": 0, "HIGH": 1}, value=_columns.priority, else_=2)


async def take_requested(connection: AsyncConnection, *, owner: str, build_timeout_s: float) -> Run | None:
    """The next run to request a dataset for, leased; None while a dataset is being built.

    Its first taking starts the time that the dataset may need.
    """
    other = training_runs.alias()
    return await _take(
        connection,
        _columns.state == State.REQUESTED,
        ~exists(select(other.c.run_id).where(other.c.state == State.BUILDING)),
        owner=owner,
        dataset_deadline=func.coalesce(_columns.dataset_deadline, _in(build_timeout_s)),
        started_at=func.coalesce(_columns.started_at, func.now()),
    )


async def take_building(connection: AsyncConnection, *, owner: str) -> Run | None:
    """The next run whose dataset is to be asked for, leased."""
    return await _take(connection, _columns.state == State.BUILDING, owner=owner)


async def take_ready(connection: AsyncConnection, *, owner: str) -> Run | None:
    """The next run to train, running and leased; no strategy has two at once."""
    other = training_runs.alias()
    return await _take(
        connection,
        _columns.state == State.READY,
        ~exists(
            select(other.c.run_id).where(
                other.c.strategy_id == _columns.strategy_id, other.c.state == State.RUNNING
            )
        ),
        owner=owner,
        state=State.RUNNING,
        attempts=_columns.attempts + 1,
        reason=None,
    )


async def move(connection: AsyncConnection, run: Run, *, pause_s: float = 0.0, **values: Any) -> bool:
    """The run is left to whoever comes next, not before `pause_s`; False where it is not ours any more."""
    return await _store(connection, run, owner=None, lease_until=_in(pause_s), **values)


async def finish(connection: AsyncConnection, run: Run, state: State, **values: Any) -> bool:
    """The run has ended; False where it is not ours any more."""
    return await _store(
        connection,
        run,
        state=state,
        owner=None,
        lease_until=None,
        finished_at=func.now(),
        progress=None,
        **values,
    )


async def hold(connection: AsyncConnection, run: Run, progress: dict[str, Any]) -> bool:
    """The lease starts anew; False where the run is not ours any more."""
    return await _store(connection, run, lease_until=_in(LEASE_S), progress=progress)


async def mark_ready(connection: AsyncConnection, dataset_id: UUID) -> bool:
    """The run that waits for this dataset is trained next; False where none does."""
    moved = await connection.execute(
        update(training_runs)
        .where(_columns.dataset_id == dataset_id, _columns.state == State.BUILDING)
        .values(
            state=State.READY,
            lease_until=None,
            owner=None,
            fence=_columns.fence + 1,
            reason=None,
            updated_at=func.now(),
        )
    )
    return bool(moved.rowcount)


async def recover(connection: AsyncConnection) -> list[Run]:
    """Runs whose trainer went silent wait again, or have failed if it was the last attempt."""
    again = _columns.attempts < MAX_ATTEMPTS
    rows = await connection.execute(
        update(training_runs)
        .where(_columns.state == State.RUNNING, _columns.lease_until < func.now())
        .values(
            state=case((again, State.READY), else_=State.FAILED),
            finished_at=case((again, None), else_=func.now()),
            reason=func.concat("its trainer went silent, attempt ", _columns.attempts, f" of {MAX_ATTEMPTS}"),
            owner=None,
            lease_until=None,
            fence=_columns.fence + 1,
            updated_at=func.now(),
        )
        .returning(training_runs)
    )
    return [run_of(row) for row in rows.mappings()]


async def give_up_overdue(connection: AsyncConnection) -> list[Run]:
    """Runs whose dataset did not come in time have failed."""
    rows = await connection.execute(
        update(training_runs)
        .where(_columns.state.in_([State.REQUESTED, State.BUILDING]), _columns.dataset_deadline < func.now())
        .values(
            state=State.FAILED,
            reason=func.concat(
                "no dataset within FEATURE_SERVICE_DATASET_BUILD_TIMEOUT_SECONDS",
                func.coalesce(": " + _columns.reason, ""),
            ),
            finished_at=func.now(),
            owner=None,
            lease_until=None,
            fence=_columns.fence + 1,
            updated_at=func.now(),
        )
        .returning(training_runs)
    )
    return [run_of(row) for row in rows.mappings()]


async def has_unfinished(connection: AsyncConnection, strategy_id: str) -> bool:
    """Whether a run of the strategy waits or works."""
    return bool(
        await connection.scalar(
            select(exists().where(_columns.strategy_id == strategy_id, _columns.state.in_(UNFINISHED)))
        )
    )


async def history(connection: AsyncConnection, strategy_id: str) -> tuple[History, datetime]:
    """The strategy's runs that ended without a version, and the database's time."""
    fruitless = and_(_columns.strategy_id == strategy_id, _columns.version.is_(None))
    row = (
        await connection.execute(
            select(func.count(), func.max(_columns.finished_at), func.now()).where(
                fruitless, _columns.finished_at.is_not(None)
            )
        )
    ).one()
    return History(fruitless=row[0], last_finished_at=row[1]), row[2]


async def unfinished_ids(connection: AsyncConnection) -> set[str]:
    """Whose files are still needed."""
    return {str(run.run_id) for run in await queue.unfinished(connection)}


def bound(run: Run) -> AbstractContextManager[None]:
    """Every log line and request inside carries the run's trace id and names."""
    return tracing.bound(run.trace_id, run_id=str(run.run_id), strategy_id=run.strategy_id, symbol=run.symbol)


async def _take(
    connection: AsyncConnection, *wanted: ColumnElement[bool], owner: str, **values: Any
) -> Run | None:
    chosen = (
        select(_columns.run_id)
        .where(_free, *wanted)
        .order_by(_urgency, _columns.requested_at)
        .limit(1)
        .with_for_update(skip_locked=True, of=training_runs)
    )
    rows = await connection.execute(
        update(training_runs)
        .where(_columns.run_id == chosen.scalar_subquery())
        .values(
            owner=owner,
            lease_until=_in(LEASE_S),
            fence=_columns.fence + 1,
            updated_at=func.now(),
            **values,
        )
        .returning(training_runs)
    )
    row = rows.mappings().first()
    return run_of(row) if row else None


async def _store(connection: AsyncConnection, run: Run, **values: Any) -> bool:
    stored = await connection.execute(
        update(training_runs)
        .where(_columns.run_id == run.run_id, _columns.fence == run.fence, _columns.state.in_(UNFINISHED))
        .values(updated_at=func.now(), **values)
    )
    return bool(stored.rowcount)


def _in(seconds: float) -> ColumnElement[datetime]:
    return func.now() + timedelta(seconds=seconds)
