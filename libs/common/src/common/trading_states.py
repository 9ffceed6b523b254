"""The stored trading states: the API and automatic trips write them, everybody reads them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.trading_state import FLEET, TradingState
from common.tables import trading_state_changes, trading_states


class ScopeState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a scope, and who brought it there."""

    scope: str
    """`fleet`, `exits` or `strategy:<id>`."""
    state: TradingState
    """ACTIVE, REDUCING (only what reduces a position) or HALTED."""
    actor: str
    reason: str
    changed_at: datetime


class StateChange(ScopeState, frozen=True, kw_only=True):
    """One entry of the history of trading states."""

    change_id: int
    """Rises with time."""
    figures: dict[str, Any] | None
    """What an automatic trip saw; null: an operator's change."""


async def stored_states(connection: AsyncConnection) -> dict[str, TradingState]:
    """Every stored state by its scope."""
    rows = await connection.execute(select(trading_states.c.scope, trading_states.c.state))
    return {row.scope: TradingState(row.state) for row in rows}


async def current_states(connection: AsyncConnection) -> list[ScopeState]:
    """Every stored state with who set it, by scope; what is not stored is in the initial state."""
    rows = await connection.execute(select(trading_states).order_by(trading_states.c.scope))
    return [msgspec.convert(row, ScopeState) for row in rows.mappings()]


async def state_changes(connection: AsyncConnection, scope: str | None, limit: int) -> list[StateChange]:
    """The newest changes first, of the scope or of all."""
    question = select(trading_state_changes).order_by(trading_state_changes.c.change_id.desc()).limit(limit)
    if scope is not None:
        question = question.where(trading_state_changes.c.scope == scope)
    return [msgspec.convert(row, StateChange) for row in (await connection.execute(question)).mappings()]


async def store_state(
    connection: AsyncConnection,
    scope: str,
    state: TradingState,
    *,
    actor: str,
    reason: str,
    figures: Mapping[str, object] | None = None,
) -> None:
    """`scope` is in `state` from the commit on, and its history says by whom and why."""
    change = {"scope": scope, "state": state.value, "actor": actor, "reason": reason}
    new = insert(trading_states).values(**change, changed_at=func.now())
    await connection.execute(
        new.on_conflict_do_update(
            index_elements=["scope"],
            set_={name: new.excluded[name] for name in ("state", "actor", "reason", "changed_at")},
        )
    )
    await connection.execute(insert(trading_state_changes).values(**change, figures=figures))


async def tighten_state(
    connection: AsyncConnection,
    scope: str,
    state: TradingState,
    *,
    actor: str,
    reason: str,
    figures: Mapping[str, object] | None = None,
    initial: TradingState = TradingState.ACTIVE,
) -> bool:
    """As `store_state`, unless the scope is in that state or a stricter one already: then False.

    For automatic trips: they never loosen what an operator set, and say nothing twice. `initial` holds while
    nothing is stored; the first state of a scope would end it, and is therefore at least as strict.
    """
    stored = await connection.scalar(
        select(trading_states.c.state).where(trading_states.c.scope == scope).with_for_update()
    )
    strictness = list(TradingState).index
    if stored is not None and strictness(TradingState(stored)) >= strictness(state):
        return False
    if stored is None and FLEET not in await stored_states(connection):
        state = max(state, initial, key=strictness)
    await store_state(connection, scope, state, actor=actor, reason=reason, figures=figures)
    return True
