"""The stored trading states: the API and automatic trips write them, everybody reads them."""

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.trading_state import TradingState
from common.tables import trading_state_changes, trading_states


async def stored_states(connection: AsyncConnection) -> dict[str, TradingState]:
    """Every stored state by its scope."""
    rows = await connection.execute(select(trading_states.c.scope, trading_states.c.state))
    return {row.scope: TradingState(row.state) for row in rows}


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
) -> bool:
    """As `store_state`, unless the scope is in that state or a stricter one already: then False.

    For automatic trips: they never loosen what an operator set, and say nothing twice.
    """
    stored = await connection.scalar(
        select(trading_states.c.state).where(trading_states.c.scope == scope).with_for_update()
    )
    strictness = list(TradingState).index
    if stored is not None and strictness(TradingState(stored)) >= strictness(state):
        return False
    await store_state(connection, scope, state, actor=actor, reason=reason, figures=figures)
    return True
