"""One price against one position: what it changes, what every rule says, what is decided."""

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from common.core.exits.holds import Hold
from common.core.exits.position import Price, Tracked
from common.core.exits.rules import PRIORITY, Look, Rules, Verdict, closes_pct, has_armed, verdicts, winner

FUTURE_TOLERANCE = timedelta(seconds=2)
"""How far the clocks of two machines may differ."""


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """A rule fired and is latched: `verdict` says why."""

    verdict: Verdict


Decision = Exit | Hold
Step = tuple[Tracked, tuple[Verdict, ...], Decision]


def step(tracked: Tracked, price: Price, rules: Rules, now: datetime, max_age: timedelta) -> Step:
    """The position after `price`, what all rules say, and the decision.

    A price that cannot be used leaves the position as it is; only the clock can then close it.
    """
    unusable = _unusable(tracked, price, now, max_age)
    if unusable is Hold.OLDER_PRICE:
        return tracked, (), unusable
    if unusable is None:
        tracked = _moved(tracked, price, rules)
    found = verdicts(Look(tracked=tracked, price=None if unusable else price.value, now=now), rules)
    best = winner(found)
    if best is None:
        return tracked, found, unusable or Hold.NO_RULE_FIRES
    if not _outweighs_latch(best, tracked, rules):
        return tracked, found, Hold.LATCHED
    return _latched(tracked, best, now), found, Exit(verdict=best)


def _unusable(tracked: Tracked, price: Price, now: datetime, max_age: timedelta) -> Hold | None:
    if price.value is None or not price.value.is_finite() or price.value <= 0:
        return Hold.BAD_PRICE
    if price.seen_at > now + FUTURE_TOLERANCE:
        return Hold.FUTURE_PRICE
    if tracked.last_evaluated_at is not None and price.seen_at < tracked.last_evaluated_at:
        return Hold.OLDER_PRICE
    if price.seen_at < now - max_age:
        return Hold.STALE_PRICE
    return None


def _moved(tracked: Tracked, price: Price, rules: Rules) -> Tracked:
    value = price.value or Decimal(0)
    moved = msgspec.structs.replace(
        tracked,
        peak_price=tracked.side.best(tracked.peak_price, value),
        last_price=value,
        last_evaluated_at=price.seen_at,
    )
    return msgspec.structs.replace(moved, armed=has_armed(moved, rules))


def _outweighs_latch(best: Verdict, tracked: Tracked, rules: Rules) -> bool:
    if tracked.latched_rule is None:
        return True
    closing = closes_pct(tracked.latched_rule, tracked.stage, rules)
    return PRIORITY[best.rule] > PRIORITY.get(tracked.latched_rule, 0) and best.close_pct >= closing


def _latched(tracked: Tracked, best: Verdict, now: datetime) -> Tracked:
    stage = tracked.stage if best.stage is None else best.stage
    return msgspec.structs.replace(tracked, latched_rule=best.rule, latched_at=now, stage=stage)
