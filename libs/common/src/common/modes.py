"""When strategies went from warm-up to a model and back: inference writes it down, the API shows it."""

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.modes import ModeChange
from common.tables import mode_changes as mode_rows


async def mode_changes(
    connection: AsyncConnection, strategy_id: str, limit: int | None = 100
) -> list[ModeChange]:
    """The strategy's changes of mode, the newest first; limit None: all of them."""
    rows = await connection.execute(
        select(mode_rows)
        .where(mode_rows.c.strategy_id == strategy_id)
        .order_by(mode_rows.c.epoch.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, ModeChange) for row in rows.mappings()]
