"""Runs as the lists show them: a page of them, and what each strategy ended last."""

import msgspec
from sqlalchemy import RowMapping, func, select
from sqlalchemy.dialects.postgresql import distinct_on
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
    rows = await connection.execute(
        select(run_rows)
        .ext(distinct_on(run_rows.c.strategy_id))
        .where(run_rows.c.finished_at.is_not(None), *equal((run_rows.c.strategy_id, strategy_id)))
        .order_by(run_rows.c.strategy_id, run_rows.c.finished_at.desc())
    )
    return {row["strategy_id"]: _shown(row) for row in rows.mappings()}


def shown(run: Run) -> TrainingRun:
    """A run as the API shows it."""
    return msgspec.convert(run, TrainingRun, from_attributes=True)


def _shown(row: RowMapping) -> TrainingRun:
    return shown(training_runs.run_of(row))
