"""The trainings that ended."""

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.core.training_status import TrainingRun
from api.queries.conditions import equal
from common import training_runs
from common.tables import training_runs as run_rows


async def last_finished_training(connection: AsyncConnection, strategy_id: str | None) -> TrainingRun | None:
    """The run that ended last, of the strategy or of all."""
    rows = await connection.execute(
        select(run_rows)
        .where(run_rows.c.finished_at.is_not(None), *equal((run_rows.c.strategy_id, strategy_id)))
        .order_by(run_rows.c.finished_at.desc())
        .limit(1)
    )
    row = rows.mappings().first()
    return msgspec.convert(training_runs.run_of(row), TrainingRun, from_attributes=True) if row else None
