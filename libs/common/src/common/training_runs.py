"""Trainings: the queue that the API and the trainer write, and how each run ended.

A strategy and symbol have at most one run that is not finished. How a run moves on is the trainer's.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import RowMapping, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.errors import Conflict
from common.tables import training_runs

Trigger = Literal["bootstrap", "manual", "schedule", "degradation"]
Priority = Literal["CRITICAL", "HIGH", "NORMAL"]


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


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One training: what was asked for, where it stands, how it ended."""

    run_id: UUID
    strategy_id: str
    symbol: str
    trigger: Trigger
    priority: Priority
    state: State
    requested_at: datetime
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
    reason: str | None
    """Why it ended as it did, or what it waits for."""
    figures: dict[str, Any] | None
    progress: dict[str, Any] | None
    version: str | None
    trace_id: str


async def request(
    connection: AsyncConnection,
    *,
    strategy_id: str,
    symbol: str,
    trigger: Trigger,
    priority: Priority,
    trace_id: str,
) -> Run:
    """The new run, waiting for a trainer.

    Raises Conflict where one of the same strategy and symbol is not finished.
    """
    inserted = await connection.execute(
        insert(training_runs)
        .values(
            run_id=uuid4(),
            strategy_id=strategy_id,
            symbol=symbol,
            trigger=trigger,
            priority=priority,
            state=State.REQUESTED,
            trace_id=trace_id,
        )
        .on_conflict_do_nothing(
            index_elements=["strategy_id", "symbol"],
            index_where=text("state IN ('requested', 'building', 'ready', 'running')"),
        )
        .returning(training_runs)
    )
    if row := inserted.mappings().first():
        return run_of(row)
    raise Conflict(f"a training of strategy {strategy_id} on {symbol} is not finished yet")


async def find(connection: AsyncConnection, run_id: UUID) -> Run | None:
    """The run of that id."""
    rows = await connection.execute(select(training_runs).where(training_runs.c.run_id == run_id))
    row = rows.mappings().first()
    return run_of(row) if row else None


async def recent(connection: AsyncConnection, strategy_id: str | None = None, limit: int = 20) -> list[Run]:
    """The newest runs first, finished or not; of one strategy where it is named."""
    question = select(training_runs).order_by(training_runs.c.requested_at.desc()).limit(limit)
    if strategy_id is not None:
        question = question.where(training_runs.c.strategy_id == strategy_id)
    return [run_of(row) for row in (await connection.execute(question)).mappings()]


async def unfinished(connection: AsyncConnection) -> list[Run]:
    """Every run that waits or works, the oldest first."""
    question = (
        select(training_runs)
        .where(training_runs.c.state.in_(UNFINISHED))
        .order_by(training_runs.c.requested_at)
    )
    return [run_of(row) for row in (await connection.execute(question)).mappings()]


def run_of(row: RowMapping) -> Run:
    """A row of training_runs as a Run."""
    return msgspec.convert(row, Run)
