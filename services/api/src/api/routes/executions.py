"""Executions over HTTP: the fills of our orders."""

import msgspec
from litestar import get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.pages import Cursor, cut
from api.pages import Before, FromTime, ToTime, window
from api.parameters import Limit, StrategyFilter, SymbolFilter
from api.problems import documented
from api.queries import executions
from common.trading_log import Execution


class Executions(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the fills, the newest first."""

    items: list[Execution]
    limit: int
    next_before: str | None
    """Asks for what is older, as `before`; null: there is nothing."""


@get("/executions", operation_id="ListExecutions", summary="Executions", responses=documented())
async def list_executions(
    engine: NamedDependency[AsyncEngine],
    *,
    strategy_id: StrategyFilter = None,
    symbol: SymbolFilter = None,
    start_time: FromTime = None,
    end_time: ToTime = None,
    before: Before = None,
    limit: Limit = 100,
) -> Executions:
    """What the exchange filled of our orders, each with its signal and what it realized."""
    wanted = window(start_time=start_time, end_time=end_time, before=before, limit=limit)
    async with engine.connect() as connection:
        found = await executions.executions(connection, wanted, strategy_id=strategy_id, symbol=symbol)
    items, next_before = cut(found, limit, lambda each: Cursor(each.executed_at, each.id))
    return Executions(items=items, limit=limit, next_before=next_before)
