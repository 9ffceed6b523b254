"""One price against one position: what it changes, what every rule says, what is decided."""

from datetime import datetime, timedelta

import msgspec

from common.core.exits.holds import Hold
from common.core.exits.position import ALL, Price, Tracked, Verdict
from common.core.exits.rules import (
    PRIORITY,
    Rules,
    has_armed,
    look_at,
    tightest_stop,
    verdicts,
    winner,
)

FUTURE_TOLERANCE = timedelta(seconds=2)
"""How far the clocks of two machines may differ."""
_AHEAD = -FUTURE_TOLERANCE


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """A rule fired and is latched: `verdict` says why."""

    verdict: Verdict


Decision = Exit | Hold
Step = tuple[Tracked, tuple[Verdict, ...], Decision]


def step(
    tracked: Tracked,
    price: Price,
    rules: Rules,
    now: datetime,
    max_age: timedelta,
    *,
    waiting: frozenset[str] = frozenset(),
) -> Step:
    """The position after `price`, what all rules say, and the decision; a rule of `waiting` decides nothing.

    A price that cannot be used leaves the position as it is; only the clock, or an operator, can then close
    it. Under a whole rule set the position also remembers its tightest stop and the verdicts.
    """
    unusable = _unusable(tracked, price, now, max_age)
    if unusable is None:
        tracked = _moved(tracked, price, rules)
    elif unusable is Hold.OLDER_PRICE:
        return tracked, (), unusable
    found = verdicts(look_at(tracked, None if unusable else price.value, now, rules), rules)
    best = winner(found)
    if rules.version is not None and (unusable is None or best is not None):
        tracked = _recorded(tracked, found, rules)
    if best is None:
        return tracked, found, unusable or Hold.NO_RULE_FIRES
    if not _outweighs_latch(best, tracked):
        return tracked, found, Hold.LATCHED
    if best.rule in waiting:
        return tracked, found, Hold.DEBOUNCED
    return _latched(tracked, best, now), found, Exit(verdict=best)


def _unusable(tracked: Tracked, price: Price, now: datetime, max_age: timedelta) -> Hold | None:
    if price.value is None or not price.value.is_finite() or price.value <= 0:
        return Hold.BAD_PRICE
    age = now - price.seen_at
    if age < _AHEAD:
        return Hold.FUTURE_PRICE
    if tracked.last_evaluated_at is not None and price.seen_at < tracked.last_evaluated_at:
        return Hold.OLDER_PRICE
    if age > max_age:
        return Hold.STALE_PRICE
    # A worker that thaws hears of the time before; an opening in the future is stamped by another clock.
    if price.seen_at < tracked.opened_at <= now:
        return Hold.OLDER_PRICE
    return None


def _moved(tracked: Tracked, price: Price, rules: Rules) -> Tracked:
    value = price.value
    assert value is not None
    peak, best_pnl_pct = tracked.peak_price, tracked.best_pnl_pct
    if best_pnl_pct is None or tracked.side.is_better(value, peak):
        peak = tracked.side.best(peak, value)
        pnl_pct = tracked.pnl_pct(peak)
        best_pnl_pct = pnl_pct if best_pnl_pct is None else max(best_pnl_pct, pnl_pct)
    return msgspec.structs.replace(
        tracked,
        peak_price=peak,
        best_pnl_pct=best_pnl_pct,
        armed=tracked.armed or has_armed(tracked, peak, rules),
        last_price=value,
        last_evaluated_at=price.seen_at,
        price_source=price.source,
    )


def _recorded(tracked: Tracked, found: tuple[Verdict, ...], rules: Rules) -> Tracked:
    return msgspec.structs.replace(
        tracked, stop_price=tightest_stop(tracked, found), rules_version=rules.version, verdicts=found
    )


# A rule that is no more outweighs nothing; a part of a position never replaces the whole of it.
def _outweighs_latch(best: Verdict, tracked: Tracked) -> bool:
    if tracked.latched_rule not in PRIORITY:
        return True
    return PRIORITY[best.rule] > PRIORITY[tracked.latched_rule] and best.close_pct >= ALL


def _latched(tracked: Tracked, best: Verdict, now: datetime) -> Tracked:
    stage = tracked.stage if best.stage is None else best.stage
    return msgspec.structs.replace(tracked, latched_rule=best.rule, latched_at=now, stage=stage)
