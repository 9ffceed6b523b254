"""The positions that the exit rules watch."""

from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.queries.conditions import equal
from common.tables import position_lifecycles


class Lifecycle(msgspec.Struct, frozen=True, kw_only=True):
    """A position from its opening to its close, as the exit rules see it."""

    lifecycle_id: UUID
    symbol: str
    side: Literal["long", "short"]
    strategy_id: str
    opened_at: datetime
    entry_price: Decimal
    """Quote currency."""
    size: Decimal
    """Base currency."""
    peak_price: Decimal
    """The best price since it was opened."""
    armed: bool
    """The trailing stop follows the price."""
    stage: int
    """Partial exits taken."""
    generation: int
    """Exit signals issued in its life, of every rule and stage."""
    latched_rule: str | None
    """The exit rule that fired."""
    latched_at: datetime | None
    exit_signal_id: UUID | None
    newest_event_at: datetime
    last_price: Decimal | None
    last_evaluated_at: datetime | None
    closed_at: datetime | None


async def lifecycles(
    connection: AsyncConnection, *, strategy_id: str | None, symbol: str | None, is_open: bool, limit: int
) -> list[Lifecycle]:
    """Positions that are open, or those that were closed; the one opened last first."""
    tracked = position_lifecycles.c
    exact = ("entry_price", "size", "peak_price", "last_price")
    rows = await connection.execute(
        select(
            *(
                func.trim_scale(tracked[name]).label(name) if name in exact else tracked[name]
                for name in Lifecycle.__struct_fields__
            )
        )
        .where(
            *equal((tracked.strategy_id, strategy_id), (tracked.symbol, symbol)),
            tracked.closed_at.is_(None) if is_open else tracked.closed_at.is_not(None),
        )
        .order_by(tracked.opened_at.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, Lifecycle) for row in rows.mappings()]
