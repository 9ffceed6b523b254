"""Exit rules: when should an open position be reduced?

Each rule looks at one position and answers with a `Verdict`, firing or not. All rules are evaluated; of those
that fire the highest `PRIORITY` wins. Percentages as 3.0 = 3 %, compared as price levels in Decimal: a float
would miss exact stops. A price of None (nothing usable is known) fires no rule that needs one.

A rule is added as one function, its place in `RULES` and its priority; a price evaluates them all.
"""

import functools
import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from common.core.exits.position import ALL, LONG, Tracked, Verdict

OPERATOR = "operator"
"""The rule of a close that somebody asked for."""

PRIORITY = {
    OPERATOR: 30,
    "stop_loss": 20,
    "kept_stop": 18,
    "trailing_stop": 15,
    "take_profit": 10,
    "max_hold": 5,
    "decaying_target": 5,
}
"""Of the rules that fire the highest wins, of equals the first."""
PACED = frozenset({"take_profit", "max_hold", "decaying_target"})
"""Rules that are debounced, rate limited and cooled down; the others never wait."""
STOPS = frozenset({"stop_loss", "kept_stop", "trailing_stop"})
"""Rules whose tightest level a position remembers."""

VERSION_LENGTH = 12
MICROSECOND = timedelta(microseconds=1)
DECAY_STARTS = timedelta(hours=1)
"""Before this age a position has no time target."""
STORED_STEP = Decimal("1e-12")
"""Prices are stored to this: a remembered stop that is no tighter than by so little is the present one."""
SMALLEST_TARGET_SHARE = Decimal("0.1")
"""What a decaying target keeps of its start."""


class StopLoss(msgspec.Struct, frozen=True, kw_only=True):
    """Close at this loss or worse."""

    loss_pct: Decimal
    loss_quote: Decimal | None = None
    """Absolute loss of the whole position, quote currency."""


class TrailingStop(msgspec.Struct, frozen=True, kw_only=True):
    """Close when the price comes back from its best, once it was good enough."""

    activation_pct: Decimal
    distance_pct: Decimal
    lock_in_pct: Decimal | None = None
    """The stop is never worse than this profit."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a take profit: above `profit_pct`, close `close_pct` of what is left."""

    profit_pct: Decimal
    close_pct: Decimal


class TakeProfit(msgspec.Struct, frozen=True, kw_only=True):
    """Close in stages above these profits."""

    ladder: tuple[Stage, ...]
    profit_quote: Decimal | None = None
    """Absolute profit of the whole position above which all of it is closed, quote currency."""


class TimeLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Close a position that is too old, and before that for less and less profit."""

    max_hold: timedelta
    profit_target_pct: Decimal


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a position; None: switched off."""

    stop_loss: StopLoss | None = None
    trailing_stop: TrailingStop | None = None
    take_profit: TakeProfit | None = None
    time_limit: TimeLimit | None = None
    version: str | None = None
    """Names a whole rule set, see `whole`; None: a part of one, of which a position remembers nothing."""


class Look(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A position at an instant and a price; None: no usable one is known."""

    tracked: Tracked
    price: Decimal | None
    pnl_pct: Decimal | None
    """At this price."""
    held: timedelta
    """Age of the position."""
    held_s: float

    def has_fallen_to(self, level: Decimal) -> bool:
        """Whether the price is at `level` or worse."""
        if self.price is None:
            return False
        return self.price <= level if self.tracked.side is LONG else self.price >= level

    def has_passed(self, level: Decimal) -> bool:
        """Whether the price is better than `level`."""
        if self.price is None:
            return False
        return self.price > level if self.tracked.side is LONG else self.price < level

    def has_reached(self, level: Decimal) -> bool:
        """Whether the price is at `level` or better."""
        if self.price is None:
            return False
        return self.price >= level if self.tracked.side is LONG else self.price <= level


Rule = Callable[[Look, Rules], Verdict | None]


def look_at(tracked: Tracked, price: Decimal | None, now: datetime) -> Look:
    """`tracked` at `price`, with the profit that this is."""
    pnl_pct = None if price is None else tracked.pnl_pct(price)
    held = now - tracked.opened_at
    return Look(tracked=tracked, price=price, pnl_pct=pnl_pct, held=held, held_s=held.total_seconds())


def whole(rules: Rules) -> Rules:
    """`rules` as all that holds for a position: with their version, so that positions remember them."""
    bare = msgspec.structs.replace(rules, version=None)
    digest = hashlib.sha256(msgspec.json.encode(bare)).hexdigest()
    return msgspec.structs.replace(bare, version=digest[:VERSION_LENGTH])


def verdicts(look: Look, rules: Rules) -> tuple[Verdict, ...]:
    """What every rule that is switched on says; one that fails does not keep the others from it."""
    found = []
    for name, rule in RULES.items():
        try:
            verdict = rule(look, rules)
        except ArithmeticError as error:
            verdict = Verdict(rule=name, fires=False, fault=f"{type(error).__name__}: {error}")
        if verdict is not None:
            found.append(verdict)
    return tuple(found)


def winner(of: tuple[Verdict, ...]) -> Verdict | None:
    """The verdict to act on, or None where no rule fires."""
    best = None
    for verdict in of:
        if verdict.fires and (best is None or PRIORITY[verdict.rule] > PRIORITY[best.rule]):
            best = verdict
    return best


def has_armed(tracked: Tracked, peak_price: Decimal, rules: Rules) -> bool:
    """Whether a best price of `peak_price` is enough for the trailing stop to follow."""
    rule = rules.trailing_stop
    if rule is None:
        return False
    activation = tracked.side.moved(tracked.entry_price, rule.activation_pct)
    return not tracked.side.is_better(activation, peak_price)


def closes_pct(rule: str | None, stage: int, rules: Rules) -> Decimal:
    """The share of the live size that a latched rule closes; `stage` is the one it reached."""
    if rule != "take_profit" or rules.take_profit is None:
        return ALL
    ladder = rules.take_profit.ladder  # beyond its end: the absolute profit, which closes all
    return ladder[stage - 1].close_pct if 0 < stage <= len(ladder) else ALL


def tightest_stop(tracked: Tracked, found: tuple[Verdict, ...]) -> Decimal | None:
    """The tightest stop that `tracked` ever had, now that `found` are the newest verdicts."""
    stop, is_better = tracked.stop_price, tracked.side.is_better
    for verdict in found:
        level = verdict.level
        if level is not None and verdict.rule in STOPS and (stop is None or is_better(level, stop)):
            stop = level
    return stop


def operator(look: Look, _: Rules) -> Verdict | None:
    """Fires once an operator asked for the close, whatever the price, known or not."""
    if look.tracked.close_requested_at is None:
        return None
    return Verdict(rule=OPERATOR, fires=True, pnl_pct=look.pnl_pct)


def stop_loss(look: Look, rules: Rules) -> Verdict | None:
    """Fires at the stop or beyond it."""
    level = _loss_level(look.tracked, rules)
    if level is None:
        return None
    return Verdict(rule="stop_loss", fires=look.has_fallen_to(level), level=level, pnl_pct=look.pnl_pct)


def kept_stop(look: Look, rules: Rules) -> Verdict | None:
    """Fires at the tightest stop of this life, where the present rules have none as tight; else is silent."""
    tracked, kept = look.tracked, look.tracked.stop_price
    if kept is None or rules.version is None or not look.has_fallen_to(kept):
        return None
    for level in (_loss_level(tracked, rules), _trailing_level(tracked, rules)):
        if level is not None and not tracked.side.is_better(kept, tracked.side.shifted(level, STORED_STEP)):
            return None
    return Verdict(rule="kept_stop", fires=True, level=kept, pnl_pct=look.pnl_pct)


def trailing_stop(look: Look, rules: Rules) -> Verdict | None:
    """Fires once the price has come back `distance_pct` from its best, when armed."""
    if rules.trailing_stop is None:
        return None
    level = _trailing_level(look.tracked, rules)
    fires = level is not None and look.has_fallen_to(level)
    return Verdict(rule="trailing_stop", fires=fires, level=level, pnl_pct=look.pnl_pct)


def take_profit(look: Look, rules: Rules) -> Verdict | None:
    """Fires above the next stage's profit, not at it; each stage once a lifecycle."""
    rule, tracked = rules.take_profit, look.tracked
    if rule is None:
        return None
    beyond = len(rule.ladder) + 1
    if rule.profit_quote is not None and tracked.stage < beyond:
        level = tracked.side.shifted(tracked.entry_price, rule.profit_quote / abs(tracked.size))
        if look.has_passed(level):
            return Verdict(rule="take_profit", fires=True, level=level, pnl_pct=look.pnl_pct, stage=beyond)
    if tracked.stage >= len(rule.ladder):
        return Verdict(rule="take_profit", fires=False, pnl_pct=look.pnl_pct)
    stage = rule.ladder[tracked.stage]
    level = tracked.side.moved(tracked.entry_price, stage.profit_pct)
    return Verdict(
        rule="take_profit",
        fires=look.has_passed(level),
        level=level,
        pnl_pct=look.pnl_pct,
        close_pct=stage.close_pct,
        stage=tracked.stage + 1,
    )


def max_hold(look: Look, rules: Rules) -> Verdict | None:
    """Fires at the greatest age whatever the price, known or not."""
    rule = rules.time_limit
    if rule is None:
        return None
    fires = look.held >= rule.max_hold
    return Verdict(rule="max_hold", fires=fires, pnl_pct=look.pnl_pct, held_s=look.held_s)


def decaying_target(look: Look, rules: Rules) -> Verdict | None:
    """Fires at a profit that shrinks with age, down to a tenth; before DECAY_STARTS there is none."""
    rule = rules.time_limit
    if rule is None:
        return None
    level = None
    if look.held >= DECAY_STARTS:
        level = look.tracked.side.moved(look.tracked.entry_price, _target_pct(rule, look.held))
    fires = level is not None and look.has_reached(level)
    return Verdict(rule="decaying_target", fires=fires, level=level, pnl_pct=look.pnl_pct, held_s=look.held_s)


RULES: dict[str, Rule] = {
    OPERATOR: operator,
    "stop_loss": stop_loss,
    "kept_stop": kept_stop,
    "trailing_stop": trailing_stop,
    "take_profit": take_profit,
    "max_hold": max_hold,
    "decaying_target": decaying_target,
}
"""In order of evaluation: what protects money first."""


def _loss_level(tracked: Tracked, rules: Rules) -> Decimal | None:
    rule = rules.stop_loss
    if rule is None:
        return None
    level = tracked.side.moved(tracked.entry_price, -rule.loss_pct)
    if rule.loss_quote is None:
        return level
    return tracked.side.best(
        level, tracked.side.shifted(tracked.entry_price, -rule.loss_quote / abs(tracked.size))
    )


def _target_pct(rule: TimeLimit, held: timedelta) -> Decimal:
    left = ((rule.max_hold - held) // MICROSECOND) / _microseconds(rule.max_hold)
    return rule.profit_target_pct * max(left, SMALLEST_TARGET_SHARE)


@functools.cache
def _microseconds(duration: timedelta) -> Decimal:
    return Decimal(duration // MICROSECOND)


def _trailing_level(tracked: Tracked, rules: Rules) -> Decimal | None:
    rule = rules.trailing_stop
    if rule is None or not tracked.armed:
        return None
    level = tracked.side.moved(tracked.peak_price, -rule.distance_pct)
    if rule.lock_in_pct is None:
        return level
    return tracked.side.best(level, tracked.side.moved(tracked.entry_price, rule.lock_in_pct))
