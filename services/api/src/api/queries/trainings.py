"""Runs as the lists show them: a page of them, and what each strategy ended last."""

import msgspec
from sqlalchemy import CTE, RowMapping, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from api.core.training_status import TrainingRun
from api.queries.conditions import equal
from common import training_runs
from common.tables import training_runs as run_rows
from common.training_runs import Run, State


async def runs(
    connection: AsyncConnection, *, strategy_id: str | None, state: State | None, limit: int, offset: int
) -> tuple[list[TrainingRun], int]:
    """A page of the runs, the one that was requested last first, and how many there are in all."""
    wanted = equal((run_rows.c.strategy_id, strategy_id), (run_rows.c.state, state))
    page = (
        select(run_rows)
        .where(*wanted)
        .order_by(run_rows.c.requested_at.desc(), run_rows.c.run_id)
        .limit(limit)
        .offset(offset)
    )
    rows = await connection.execute(page)
    found = [_shown(row) for row in rows.mappings()]
    total = await connection.scalar(select(func.count()).select_from(run_rows).where(*wanted))
    return found, total or 0


async def last_finished(connection: AsyncConnection, strategy_id: str | None) -> dict[str, TrainingRun]:
    """The run that ended last of each strategy, or of the one that is named."""
    strategies = _strategies()
    last = (
        select(run_rows)
        .where(run_rows.c.strategy_id == strategies.c.strategy_id, run_rows.c.finished_at.is_not(None))
        .order_by(run_rows.c.finished_at.desc())
        .limit(1)
        .lateral()
    )
    rows = await connection.execute(
        select(last)
        .select_from(strategies.join(last, true()))
        .where(*equal((strategies.c.strategy_id, strategy_id)))
    )
    return {row["strategy_id"]: _shown(row) for row in rows.mappings()}


def shown(run: Run) -> TrainingRun:
    """A run as the API shows it."""
    return msgspec.convert(run, TrainingRun, from_attributes=True)


# From one strategy to the next by the index: DISTINCT would read every run that there ever was.
def _strategies() -> CTE:
    kept = run_rows.alias("kept").c.strategy_id
    found = select(func.min(kept).label("strategy_id")).cte("strategies", recursive=True)
    following = select(func.min(kept)).where(kept > found.c.strategy_id).scalar_subquery()
    return found.union_all(select(following).where(found.c.strategy_id.is_not(None)))


def _shown(row: RowMapping) -> TrainingRun:
    return shown(training_runs.run_of(row))
