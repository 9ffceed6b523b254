"""Positions over HTTP: what the exit rules watch, how closely, and what they sent."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.pages import Cursor, Window, cut
from api.pages import Before, window
from api.parameters import Limit, StrategyFilter, SymbolFilter
from api.problems import documented
from api.queries import positions, signals
from api.queries.positions import Lifecycle
from api.queries.signals import Signal
from api.routes.closing import SymbolPath
from common.errors import NotFound


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the positions, the one opened last first."""

    items: list[Lifecycle]
    limit: int
    next_before: str | None
    """Asks for those opened before, as `before`; null: there are none."""


class Position(Lifecycle, frozen=True, kw_only=True):
    """An open position with its exits."""

    exit_signals: list[Signal]
    """The exits that were sent for it, the newest first."""


@get("/positions", operation_id="ListPositions", summary="Watched positions", responses=documented())
async def list_positions(
    engine: NamedDependency[AsyncEngine],
    *,
    strategy_id: StrategyFilter = None,
    symbol: SymbolFilter = None,
    is_open: Annotated[bool, QueryParameter(description="False: positions that were closed.")] = True,
    before: Before = None,
    limit: Limit = 100,
) -> Positions:
    """The positions that the exit rules watch: their stops, their coverage, what every rule says."""
    wanted = window(before=before, limit=limit)
    async with engine.connect() as connection:
        found = await positions.lifecycles(
            connection, wanted, strategy_id=strategy_id, symbol=symbol, is_open=is_open
        )
    items, next_before = cut(found, limit, lambda each: Cursor(each.opened_at, each.lifecycle_id))
    return Positions(items=items, limit=limit, next_before=next_before)


@get(
    "/positions/{symbol:str}",
    operation_id="GetPosition",
    summary="One open position",
    responses=documented(404),
)
async def get_position(engine: NamedDependency[AsyncEngine], symbol: SymbolPath) -> Position:
    """The open position of the symbol, with the exits that were sent for it."""
    async with engine.connect() as connection:
        found = await positions.lifecycles(connection, Window(limit=1), symbol=symbol)
        if not found:
            raise NotFound("no open position of this symbol is watched")
        [position] = found
        exits = await signals.exits_of(connection, symbol, position.lifecycle_id, position.opened_at)
    return Position(**msgspec.structs.asdict(position), exit_signals=exits)
