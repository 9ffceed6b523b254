"""Strategies over HTTP: what each trades with, whether it may, and what it decided last."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncEngine

from api.problems import documented
from api.queries import outcomes
from api.settings import Settings
from common import model_registry, served_versions, trading_states
from common.core.trading_state import FLEET, TradingState, scope_of, trading_state
from common.model_registry import Active
from common.served_versions import Served
from common.trading_states import ScopeState

_DECIDES = ("serving", "warm_up")


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy and what it trades with."""

    strategy_id: str
    mode: Literal["warm-up", "model"]
    """`warm-up`: no version decides."""
    active_version: str | None
    """Null: it warms up."""
    epoch: int
    """Of the newest activation; 0: there was none."""
    activated_at: datetime | None
    """Since when it trades so; null: nothing was ever activated."""
    trading_state: TradingState
    """The stricter of the fleet's and its own."""


class LastOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the newest vector that a strategy decided on."""

    symbol: str
    outcome: Literal["signal", "skip"]
    """What became of it."""
    reason: str | None
    """Null: a signal."""
    decided_at: datetime
    facts: dict[str, Any] | None
    """The figures of the gate that said no, or of the signal."""


class ServedBy(msgspec.Struct, frozen=True, kw_only=True):
    """How many replicas decide for a strategy."""

    serving: int
    """Those that decide with what is active, be it the warm-up."""
    alive: int
    """Those that were heard of lately."""


class StrategyAtWork(Strategy, frozen=True, kw_only=True):
    """A strategy, what it trades, whether it may, and what it does."""

    symbols: list[str]
    """Empty: every symbol of the stream."""
    state_scope: str | None
    """Whose state holds: `fleet` or `strategy:<id>`; null: none is stored, TRADING_STATE_INITIAL holds."""
    state_actor: str | None
    """Who set it."""
    state_reason: str | None
    """Why, in the words of who set it."""
    last_outcome: LastOutcome | None
    """Over all of its symbols; null: nothing was decided yet."""
    served_by: ServedBy
    """Who decides for it."""


class Strategies(msgspec.Struct, frozen=True, kw_only=True):
    """All strategies of the fleet."""

    items: list[StrategyAtWork]
    total: int


@get("/strategies", operation_id="ListStrategies", summary="Strategies", responses=documented())
async def list_strategies(
    engine: NamedDependency[AsyncEngine], settings: NamedDependency[Settings]
) -> Strategies:
    """What each strategy trades with, whether it may and who says so, and its newest decision."""
    async with engine.connect() as connection:
        states = await trading_states.current_states(connection)
        replicas = await served_versions.served(connection)
        newest = await outcomes.newest_of_strategies(connection)
        active = await model_registry.active_of(connection, settings.strategies())
    stored = {each.scope: each.state for each in states}
    items = []
    for strategy_id in settings.strategies():
        state = trading_state(stored, strategy_id, settings.trading_state_initial)
        said = _said(states, strategy_id)
        items.append(
            StrategyAtWork(
                **msgspec.structs.asdict(standing(strategy_id, active.get(strategy_id), state)),
                symbols=list(settings.symbols_of(strategy_id)),
                state_scope=said.scope if said else None,
                state_actor=said.actor if said else None,
                state_reason=said.reason if said else None,
                last_outcome=_last(newest.get(strategy_id)),
                served_by=_served_by(replicas, strategy_id),
            )
        )
    return Strategies(items=items, total=len(items))


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


# The stricter of the two; of equals the strategy's own.
def _said(states: Iterable[ScopeState], strategy_id: str) -> ScopeState | None:
    of_scope = {each.scope: each for each in states}
    found = [of_scope[scope] for scope in (scope_of(strategy_id), FLEET) if scope in of_scope]
    return max(found, key=lambda each: list(TradingState).index(each.state), default=None)


def _last(outcome: outcomes.LatestOutcome | None) -> LastOutcome | None:
    return msgspec.convert(outcome, LastOutcome, from_attributes=True) if outcome else None


def _served_by(replicas: Iterable[Served], strategy_id: str) -> ServedBy:
    alive = [each for each in replicas if each.strategy_id == strategy_id and each.is_alive]
    return ServedBy(serving=sum(each.state in _DECIDES for each in alive), alive=len(alive))
