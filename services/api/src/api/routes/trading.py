"""Trading as it stands: what each strategy trades with, the newest signals, the watched positions."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.parameters import Limit, StrategyFilter, SymbolFilter
from api.problems import documented
from api.queries import positions, signals
from api.queries.positions import Lifecycle
from api.queries.signals import Signal
from api.settings import Settings
from common import model_registry
from common.core.trading_state import TradingState, trading_state
from common.model_registry import Active
from common.trading_states import stored_states


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy and what it trades with."""

    strategy_id: str
    mode: Literal["warm-up", "model"]
    active_version: str | None
    """Null: it warms up."""
    epoch: int
    """Of the newest activation; 0: there was none."""
    activated_at: datetime | None
    trading_state: TradingState
    """The stricter of the fleet's and its own."""


class Strategies(msgspec.Struct, frozen=True, kw_only=True):
    """All strategies of the fleet."""

    items: list[Strategy]
    total: int


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """The newest signals first."""

    items: list[Signal]
    limit: int


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """The position opened last first."""

    items: list[Lifecycle]
    limit: int


@get("/strategies", operation_id="ListStrategies", summary="Strategies", responses=documented())
async def list_strategies(
    engine: NamedDependency[AsyncEngine], settings: NamedDependency[Settings]
) -> Strategies:
    """What each strategy trades with: warm-up or a version, and whether it may."""
    items = []
    async with engine.connect() as connection:
        states = await stored_states(connection)
        for strategy_id in settings.strategies():
            active = await model_registry.active_for(connection, strategy_id)
            state = trading_state(states, strategy_id, settings.trading_state_initial)
            items.append(standing(strategy_id, active, state))
    return Strategies(items=items, total=len(items))


@get("/signals", operation_id="ListSignals", summary="Newest signals", responses=documented())
async def list_signals(
    engine: NamedDependency[AsyncEngine],
    strategy_id: StrategyFilter = None,
    symbol: SymbolFilter = None,
    limit: Limit = 100,
) -> Signals:
    """The newest published signals, each with the market that it saw and the figures behind it."""
    async with engine.connect() as connection:
        found = await signals.newest_signals(connection, strategy_id=strategy_id, symbol=symbol, limit=limit)
    return Signals(items=found, limit=limit)


@get("/positions", operation_id="ListPositions", summary="Watched positions", responses=documented())
async def list_positions(
    engine: NamedDependency[AsyncEngine],
    strategy_id: StrategyFilter = None,
    symbol: SymbolFilter = None,
    is_open: Annotated[bool, QueryParameter(description="False: positions that were closed.")] = True,
    limit: Limit = 100,
) -> Positions:
    """The positions that the exit rules watch, with all that the rules remember of each."""
    async with engine.connect() as connection:
        found = await positions.lifecycles(
            connection, strategy_id=strategy_id, symbol=symbol, is_open=is_open, limit=limit
        )
    return Positions(items=found, limit=limit)


def standing(strategy_id: str, active: Active | None, state: TradingState) -> Strategy:
    """The strategy as the API shows it."""
    version = active.version if active else None
    return Strategy(
        strategy_id=strategy_id,
        mode="model" if version else "warm-up",
        active_version=version,
        epoch=active.epoch if active else 0,
        activated_at=active.activated_at if active else None,
        trading_state=state,
    )
