"""The fills of our orders."""

from uuid import UUID

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.core.pages import Window
from api.queries.conditions import equal, within
from common.tables import execution_events
from common.trading_log import Execution

_filled = execution_events.c


async def executions(
    connection: AsyncConnection,
    window: Window,
    *,
    strategy_id: str | None = None,
    symbol: str | None = None,
    signal_id: UUID | None = None,
) -> list[Execution]:
    """The newest fills of the window first, and one more than its limit where there are more."""
    rows = await connection.execute(
        select(
            _filled.id,
            _filled.signal_id,
            _filled.strategy_id,
            _filled.asset.label("symbol"),
            _filled.side,
            func.trim_scale(_filled.execution_price).label("price"),
            func.trim_scale(_filled.execution_quantity).label("quantity"),
            func.trim_scale(_filled.execution_fees).label("fees"),
            func.timezone("UTC", _filled.executed_at).label("executed_at"),
            func.trim_scale(_filled.signal_price).label("signal_price"),
            func.timezone("UTC", _filled.signal_timestamp).label("signal_timestamp"),
            _filled.performance,
        )
        .where(
            *equal(
                (_filled.strategy_id, strategy_id),
                (_filled.asset, symbol),
                (_filled.signal_id, signal_id),
            ),
            *within(window, _filled.executed_at, _filled.id),
        )
        .order_by(_filled.executed_at.desc(), _filled.id.desc())
        .limit(window.limit + 1)
    )
    return [msgspec.convert(row, Execution) for row in rows.mappings()]
