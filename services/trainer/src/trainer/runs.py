"""How a training run moves on: who may work on it, until when, and what ends it.

Each step takes a row (SKIP LOCKED), which adds one to its fence; what the step found is stored only while the
row still has that fence. A lease says until when nobody else takes it; on a run that nobody works on it is
the pause before the next step. All times are the database's.

What holds for all trainers together (one build at a time, so many fits at a time) is counted and taken under
a lock of the transaction, so it holds for any number of them. A build leaves every download unanswered: none
begins while a dataset is fetched, and nobody fetches one during a build; whose turn it is goes first.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, cast, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from common import tracing
from common import training_runs as queue
from common.tables import positions, training_runs
from common.training_runs import UNFINISHED, Run, State, run_of, turn
from trainer.core.triggers import History

LEASE_S = 15.0
"""How long a run belongs to a trainer that says nothing, in seconds."""
MAX_ATTEMPTS = 3
"""Fits begun for one run before it is given up."""
FETCHING = "download"
"""Stage of a running training's progress while it needs the Feature Service; none yet is the same."""

_TAKING_LOCK = 0x74616B65
"""Held while what is under way is counted and the next is taken."""

_columns = training_runs.c
_other = training_runs.alias()
_free = or_(_columns.lease_until.is_(None), _columns.lease_until < func.now())
# A cancelled run whose trainer has not let go of it yet may still have its child process.
_occupies = or_(
    _other.c.state == State.RUNNING,
    and_(_other.c.state == State.CANCELLED, _other.c.lease_until > func.now()),
)
# Between the taking and the answer of the Feature Service a build may have begun.
_builds = or_(
    _other.c.state == State.BUILDING,
    and_(_other.c.state == State.REQUESTED, _other.c.owner.is_not(None), _other.c.lease_until > func.now()),
)
_fetches = and_(
    _other.c.state == State.RUNNING,
    _other.c.lease_until > func.now(),
    func.coalesce(_other.c.progress["stage"].astext, FETCHING) == FETCHING,
)


async def take_requested(
    connection: AsyncConnection, *, owner: str, lease_s: float, build_timeout_s: float, max_parallel: int
) -> Run | None:
    """The next run to request a dataset for, leased; None while any trainer has one built or fetches one.

    A run that could be trained now goes first where it is its turn. The first taking starts the time that the
    dataset may need.
    """
    await connection.execute(select(func.pg_advisory_xact_lock(_TAKING_LOCK)))
    return await _take(
        connection,
        State.REQUESTED,
        ~exists(select(_other.c.run_id).where(or_(_builds, _fetches))),
        rivals=and_(_columns.state == State.READY, *_may_run(max_parallel)),
        owner=owner,
        lease_s=lease_s,
        dataset_deadline=func.coalesce(_columns.dataset_deadline, _in(build_timeout_s)),
        started_at=func.coalesce(_columns.started_at, func.now()),
    )


async def take_building(connection: AsyncConnection, *, owner: str) -> Run | None:
    """The next run whose dataset is to be asked for, leased."""
    return await _take(connection, State.BUILDING, owner=owner)


async def take_ready(connection: AsyncConnection, *, owner: str, max_parallel: int) -> Run | None:
    """The next run to train, running and leased; None while `max_parallel` of all trainers run.

    No strategy has two at once, and none begins during a build: its dataset could not be fetched.
    """
    await connection.execute(select(func.pg_advisory_xact_lock(_TAKING_LOCK)))
    taken = await _take(
        connection,
        State.READY,
        *_may_run(max_parallel),
        ~exists(select(_other.c.run_id).where(_builds)),
        owner=owner,
        state=State.RUNNING,
        attempts=_columns.attempts + 1,
        reason=None,
        progress=None,
    )
    if taken:
        await _begin_time_anew(connection)
    return taken


async def defer(connection: AsyncConnection) -> tuple[list[str], bool]:
    """Symbols with an open position, and whether a run learned only now that it waits for them.

    The time that a waiting run's dataset may need starts anew afterwards.
    """
    found = await connection.scalars(
        select(positions.c.asset).where(positions.c.size != 0).distinct().order_by(positions.c.asset)
    )
    symbols = list(found)
    if not symbols:
        return [], False
    reason = f"positions are open in {', '.join(symbols)} (TRAINING_DEFER_WHILE_POSITIONS_OPEN)"
    told = await connection.execute(
        update(training_runs)
        .where(_columns.state == State.REQUESTED, _free, _columns.reason.is_distinct_from(reason))
        .values(reason=reason, dataset_deadline=None, updated_at=func.now())
    )
    return symbols, bool(told.rowcount)


async def begin_building(
    connection: AsyncConnection, run: Run, *, dataset_id: UUID, figures: dict[str, Any], pause_s: float
) -> bool:
    """The run waits for its dataset; False where it is not ours any more.

    Whoever else has asked in vain gets its time anew: while this one is built nobody is answered.
    """
    ours = await move(
        connection,
        run,
        pause_s=pause_s,
        state=State.BUILDING,
        dataset_id=dataset_id,
        figures=figures,
        reason=None,
    )
    if ours:
        await _begin_time_anew(connection)
    return ours


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


async def lost(connection: AsyncConnection, run: Run) -> bool:
    """Whether somebody took the run over or cancelled it; our own end of it is no loss."""
    fence = await connection.scalar(select(_columns.fence).where(_columns.run_id == run.run_id))
    return bool(fence != run.fence)


async def let_go(connection: AsyncConnection, run: Run) -> None:
    """A cancelled run of ours takes no place any more: its child process is gone."""
    await connection.execute(
        update(training_runs)
        .where(
            _columns.run_id == run.run_id,
            _columns.state == State.CANCELLED,
            _columns.fence == run.fence + 1,
        )
        .values(owner=None, lease_until=None)
    )


async def mark_ready(connection: AsyncConnection, dataset_id: UUID, records: Mapping[str, int]) -> bool:
    """The run that waits for this dataset is trained next, or has all that it was for; False where none does.

    Its figures say how many `records` each split has.
    """
    known = func.coalesce(_columns.figures, cast({}, JSONB))
    moved = await connection.execute(
        update(training_runs)
        .where(_columns.dataset_id == dataset_id, _columns.state == State.BUILDING)
        .values(
            state=case((_columns.dataset_only, State.SUCCEEDED), else_=State.READY),
            finished_at=case((_columns.dataset_only, func.now())),
            figures=known.op("||")(cast({"records": records}, JSONB)),
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
            recoveries=_columns.recoveries + 1,
            progress=None,
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
    """What the strategy's versions and runs tell of its trainings, and the database's time."""
    last_trained_at = (await queue.last_trainings(connection)).get(strategy_id)
    fruitless = and_(_columns.version.is_(None), _columns.finished_at.is_not(None), ~_columns.dataset_only)
    if last_trained_at is not None:
        fruitless = and_(fruitless, _columns.finished_at > last_trained_at)
    row = (
        await connection.execute(
            select(func.count(), func.max(_columns.finished_at), func.now()).where(
                _columns.strategy_id == strategy_id, fruitless
            )
        )
    ).one()
    found = History(last_trained_at=last_trained_at, fruitless=row[0], last_fruitless_at=row[1])
    return found, row[2]


async def unfinished_ids(connection: AsyncConnection) -> set[str]:
    """Whose files are still needed."""
    return {str(run.run_id) for run in await queue.unfinished(connection)}


def bound(run: Run) -> AbstractContextManager[None]:
    """Every log line and request inside carries the run's trace id and names."""
    return tracing.bound(run.trace_id, run_id=str(run.run_id), strategy_id=run.strategy_id, symbol=run.symbol)


def _may_run(max_parallel: int) -> tuple[ColumnElement[bool], ...]:
    running = select(func.count()).select_from(_other).where(_occupies).scalar_subquery()
    beside = select(_other.c.run_id).where(_other.c.strategy_id == _columns.strategy_id, _occupies)
    return running < max_parallel, ~exists(beside)


# Whoever is being asked for at this moment keeps its time: it would have none at all once it is built.
async def _begin_time_anew(connection: AsyncConnection) -> None:
    await connection.execute(
        update(training_runs)
        .where(_columns.state == State.REQUESTED, or_(_columns.owner.is_(None), _free))
        .values(dataset_deadline=None)
    )


# The next in turn of the free runs in `from_state` and their `rivals`; nobody where a rival is next.
async def _take(
    connection: AsyncConnection,
    from_state: State,
    *wanted: ColumnElement[bool],
    rivals: ColumnElement[bool] | None = None,
    owner: str,
    lease_s: float = LEASE_S,
    **values: Any,
) -> Run | None:
    in_state = _columns.state == from_state
    chosen = (
        select(_columns.run_id)
        .where(_free, in_state if rivals is None else or_(in_state, rivals), *wanted)
        .order_by(*turn(), _columns.run_id)
        .limit(1)
        .with_for_update(skip_locked=True, of=training_runs)
    )
    rows = await connection.execute(
        update(training_runs)
        .where(_columns.run_id == chosen.scalar_subquery(), in_state)
        .values(
            owner=owner,
            lease_until=_in(lease_s),
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
