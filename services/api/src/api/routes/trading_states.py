"""Trading states over HTTP: how much the fleet, a strategy or the exits may do, and who said so."""

from typing import Annotated

import msgspec
import structlog
from litestar import get, post, put
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, PathParameter, QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api import audit
from api.events import Event
from api.parameters import ACTOR, STORABLE, Actor, Limit, Reason, StrategyPath
from api.problems import documented
from api.settings import Settings
from common import trading_states
from common.core.trading_state import EXITS, FLEET, TradingState, scope_of
from common.errors import NotFound, Unusable
from common.trading_states import ScopeState, StateChange

log = structlog.get_logger(__name__)

_LONGEST_SCOPE = 120
_PATTERN = r"^(fleet|exits|strategy:[^\x00]{1,100})$"

ScopePath = Annotated[
    str,
    PathParameter(
        max_length=_LONGEST_SCOPE,
        pattern=_PATTERN,
        description="`fleet`, `exits` or `strategy:<id>`.",
    ),
]
ScopeFilter = Annotated[
    str | None,
    QueryParameter(
        name="scope", max_length=_LONGEST_SCOPE, pattern=STORABLE, description="History of this scope only."
    ),
]


class StateWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state that a scope is to have from now on."""

    state: TradingState
    """ACTIVE, REDUCING (only what reduces a position) or HALTED; exits know ACTIVE and HALTED."""
    actor: Actor
    """Who says so."""
    reason: Reason
    """Why: whoever finds the fleet halted reads it."""


class Because(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks for it, and why."""

    reason: Reason
    """Why: whoever finds the strategy in that state reads it."""
    actor: Actor = ACTOR
    """Who says so."""


class TradingStates(msgspec.Struct, frozen=True, kw_only=True):
    """What holds now, and how it came about."""

    initial: TradingState
    """Holds for fleet and strategies while neither is stored."""
    items: list[ScopeState]
    """What is stored, by scope; of fleet and strategy the stricter holds."""
    changes: list[StateChange]
    """The newest first."""
    limit: int


@get("/trading-states", operation_id="ListTradingStates", summary="Trading states", responses=documented())
async def list_trading_states(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    of_scope: ScopeFilter = None,
    limit: Limit = 100,
) -> TradingStates:
    """The state of every scope with who set it and why, and the history, automatic trips included."""
    async with engine.connect() as connection:
        items = await trading_states.current_states(connection)
        changes = await trading_states.state_changes(connection, of_scope, limit)
    return TradingStates(initial=settings.trading_state_initial, items=items, changes=changes, limit=limit)


@put(
    "/trading-states/{trading_scope:str}",
    operation_id="SetTradingState",
    summary="Halt, reduce or release",
    responses=documented(404, 413, 422),
)
async def set_trading_state(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    trading_scope: ScopePath,
    data: JSONBody[StateWanted],
) -> ScopeState:
    """The scope is in that state from now on, for the next decision of every worker.

    Setting a state again is recorded again. An automatic trip that was released comes back only on what
    happens after the release.
    """
    if trading_scope == EXITS and data.state is TradingState.REDUCING:
        raise Unusable("exits only reduce: their state is ACTIVE or HALTED")
    return await _set(engine, settings, trading_scope, data.state, actor=data.actor, reason=data.reason)


def _setting(verb: str, state: TradingState, summary: str, description: str) -> HTTPRouteHandler:
    @post(
        f"/strategies/{{strategy_id:str}}/{verb}",
        operation_id=f"{verb.title()}Strategy",
        summary=summary,
        description=description,
        status_code=200,
        responses=documented(404, 413),
    )
    async def set_state(
        engine: NamedDependency[AsyncEngine],
        settings: NamedDependency[Settings],
        strategy_id: StrategyPath,
        data: JSONBody[Because],
    ) -> ScopeState:
        scope = scope_of(strategy_id)
        return await _set(engine, settings, scope, state, actor=data.actor, reason=data.reason)

    return set_state


pause = _setting(
    "pause",
    TradingState.HALTED,
    "Pause a strategy",
    "The strategy sends nothing from now on (HALTED); exits by rule go on.",
)
reduce = _setting(
    "reduce",
    TradingState.REDUCING,
    "Let a strategy only reduce",
    "The strategy sends only what makes a position smaller (REDUCING); exits by rule go on.",
)
resume = _setting(
    "resume",
    TradingState.ACTIVE,
    "Let a strategy trade again",
    "The strategy trades again (ACTIVE), as far as the fleet's state lets it.",
)


async def _set(
    engine: AsyncEngine, settings: Settings, scope: str, state: TradingState, *, actor: str, reason: str
) -> ScopeState:
    async with engine.begin() as connection:
        before = await trading_states.stored_states(connection)
        if scope not in {FLEET, EXITS, *map(scope_of, settings.strategies()), *before}:
            raise NotFound("no such strategy: TRADING_STRATEGIES names those that there are")
        await trading_states.store_state(connection, scope, state, actor=actor, reason=reason)
        [stored] = [each for each in await trading_states.current_states(connection) if each.scope == scope]
        was = before.get(scope)
        await audit.record(
            connection,
            "set_trading_state",
            scope,
            actor=actor,
            reason=reason,
            details={"state": state, "before": was},
        )
    log.warning(Event.TRADING_STATE_SET, scope=scope, state=state, before=was, actor=actor, reason=reason)
    return stored
