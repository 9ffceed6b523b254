"""Trading state: how much the fleet, or a strategy, may do; the strictest of what is stored holds."""

from collections.abc import Mapping
from enum import StrEnum

FLEET = "fleet"
"""The scope of everybody who enters."""
EXITS = "exits"
"""The scope of exits: they go on whatever the fleet's state, unless an operator halts them by name."""


class TradingState(StrEnum):
    """Least strict first."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"


def scope_of(strategy_id: str) -> str:
    """The scope of one strategy."""
    return f"strategy:{strategy_id}"


UNKNOWN_AFTER_S = 60.0
"""A state that could not be read for longer is not believed, in seconds."""


def last_known(state: TradingState | None, read_ago_s: float) -> TradingState:
    """What holds while the states cannot be read: the last one for a minute, then REDUCING at least.

    `state` is the last one read, None where none ever was.
    """
    if state is None or not read_ago_s <= UNKNOWN_AFTER_S:
        return max(state or TradingState.REDUCING, TradingState.REDUCING, key=list(TradingState).index)
    return state


def trading_state(
    stored: Mapping[str, TradingState], strategy_id: str, initial: TradingState
) -> TradingState:
    """The strictest of the states `stored` for the fleet and the strategy; `initial` where neither is."""
    states = [stored[scope] for scope in (FLEET, scope_of(strategy_id)) if scope in stored]
    return max(states, key=list(TradingState).index, default=initial)
