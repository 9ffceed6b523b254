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


def trading_state(
    stored: Mapping[str, TradingState], strategy_id: str, initial: TradingState
) -> TradingState:
    """The strictest of the states `stored` for the fleet and the strategy; `initial` where neither is."""
    states = [stored[scope] for scope in (FLEET, scope_of(strategy_id)) if scope in stored]
    return max(states, key=list(TradingState).index, default=initial)
