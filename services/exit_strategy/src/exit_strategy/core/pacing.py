"""Pacing: which rules wait for the end of a short window, and which price decides there.

A target that is passed for an instant is no profit: take profit and time rules are decided by the newest
price at the end of a window that the first firing price opens. What protects money, the stops and an
operator's order, never waits.
"""

from datetime import datetime, timedelta

import msgspec

from common.core.exits.holds import Hold
from common.core.exits.position import Price
from common.core.exits.rules import PACED
from common.core.exits.step import Decision

NOTHING: frozenset[str] = frozenset()


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A paced rule fired; what it says of the newest price at the end counts."""

    ends_at: datetime
    newest: Price


def waiting_rules(window: Window | None, now: datetime, debounce: timedelta) -> frozenset[str]:
    """The rules that a price evaluated at `now` may not latch yet: for `step`'s `waiting`."""
    if not debounce or (window is not None and now >= window.ends_at):
        return NOTHING
    return PACED


def window_after(
    window: Window | None, price: Price, decision: Decision, now: datetime, debounce: timedelta
) -> Window | None:
    """The symbol's window once `price` was evaluated with `decision`; None: none is open.

    It ends `debounce` after the first price that fired a paced rule, however many follow. At `ends_at` the
    caller evaluates `newest` once more, then with no rule waiting.
    """
    if window is not None and now >= window.ends_at:
        return None
    if decision is Hold.OLDER_PRICE:
        return window
    if window is not None:
        return msgspec.structs.replace(window, newest=price)
    return Window(ends_at=now + debounce, newest=price) if decision is Hold.DEBOUNCED else None
