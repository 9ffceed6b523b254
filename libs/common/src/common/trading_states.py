"""The stored trading states: the API and automatic trips write them, everybody reads them."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.trading_state import TradingState
from common.tables import trading_states


async def stored_states(connection: AsyncConnection) -> dict[str, TradingState]:
    """Every stored state by its scope."""
    rows = await connection.execute(select(trading_states.c.scope, trading_states.c.state))
    return {row.scope: TradingState(row.state) for row in rows}
