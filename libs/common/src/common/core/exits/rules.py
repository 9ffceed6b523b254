"""Exit rules: when should an open position be reduced?

Each rule looks at one position and answers with a `Verdict`, firing or not. All rules are evaluated; of those
that fire the highest `PRIORITY` wins. Percentages as 3.0 = 3 %, compared as price levels in Decimal: a float
would miss exact stops. A price of None (nothing usable is known) fires no rule that needs one.

A rule is added as one function, its place in `RULES` and its priority.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from common.core.exits.position import Tracked

PRIORITY = {"stop_loss": 20, "trailing_stop": 15, "take_profit": 10, "max_hold": 5, "decaying_target": 5}
"""Of the rules that fire the highest wins, of equals the first."""

ALL = Decimal(100)
DECAY_STARTS = timedelta(hours=1)
"""Before this age a position has no time target."""
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


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule says about one position at one price."""

    rule: str
    fires: bool
    level: Decimal | None = None
    """Price at which the rule fires, quote currency."""
    pnl_pct: Decimal | None = None
    held_s: float | None = None
    close_pct: Decimal = ALL
    """Share of the live size that the rule closes."""
    stage: int | None = None
    """The ladder stage that it reaches."""
    fault: str | None = None
    """Why the rule could not be evaluated."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A position at an instant and a price; None: no usable one is known."""

    tracked: Tracked
    price: Decimal | None
    now: datetime

    def has_fallen_to(self, level: Decimal) -> bool:
        """Whether the price is at `level` or worse."""
        return self.price is not None and not self.tracked.side.is_better(self.price, level)

    def has_passed(self, level: Decimal) -> bool:
        """Whether the price is better than `level`."""
        return self.price is not None and self.tracked.side.is_better(self.price, level)

    def has_reached(self, level: Decimal) -> bool:
        """Whether the price is at `level` or better."""
        return self.price is not None and not self.tracked.side.is_better(level, self.price)

    def held(self) -> timedelta:
        """Age of the position."""
        return self.now - self.tracked.opened_at

    def verdict(self, rule: str, level: Decimal | None, *, fires: bool) -> Verdict:
        """What `rule` says, with the profit at this price."""
        pnl_pct = None if self.price is None else self.tracked.pnl_pct(self.price)
        return Verdict(rule=rule, fires=fires, level=level, pnl_pct=pnl_pct)


Rule = Callable[[Look, Rules], Verdict | None]


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
    return max((verdict for verdict in of if verdict.fires), key=_priority, default=None)


def has_armed(tracked: Tracked, rules: Rules) -> bool:
    """Whether the trailing stop follows, now that `tracked` holds the newest peak."""
    rule = rules.trailing_stop
    if tracked.armed or rule is None:
        return tracked.armed
    activation = tracked.side.moved(tracked.entry_price, rule.activation_pct)
    return not tracked.side.is_better(activation, tracked.peak_price)


def closes_pct(rule: str, stage: int, rules: Rules) -> Decimal:
    """The share of the live size that a latched rule closes; `stage` is the one it reached."""
    if rule != "take_profit" or rules.take_profit is None:
        return ALL
    ladder = rules.take_profit.ladder  # beyond its end: the absolute profit, which closes all
    return ladder[stage - 1].close_pct if 0 < stage <= len(ladder) else ALL


def stop_loss(look: Look, rules: Rules) -> Verdict | None:
    """Fires at the stop or beyond it."""
    rule, tracked = rules.stop_loss, look.tracked
    if rule is None:
        return None
    level = tracked.side.moved(tracked.entry_price, -rule.loss_pct)
    if rule.loss_quote is not None:
        absolute = tracked.side.shifted(tracked.entry_price, -rule.loss_quote / abs(tracked.size))
        level = tracked.side.best(level, absolute)
    return look.verdict("stop_loss", level, fires=look.has_fallen_to(level))


def trailing_stop(look: Look, rules: Rules) -> Verdict | None:
    """Fires once the price has come back `distance_pct` from its best, when armed."""
    rule, tracked = rules.trailing_stop, look.tracked
    if rule is None:
        return None
    if not tracked.armed:
        return look.verdict("trailing_stop", None, fires=False)
    level = tracked.side.moved(tracked.peak_price, -rule.distance_pct)
    if rule.lock_in_pct is not None:
        level = tracked.side.best(level, tracked.side.moved(tracked.entry_price, rule.lock_in_pct))
    return look.verdict("trailing_stop", level, fires=look.has_fallen_to(level))


def take_profit(look: Look, rules: Rules) -> Verdict | None:
    """Fires above the next stage's profit, not at it; each stage once a lifecycle."""
    rule, tracked = rules.take_profit, look.tracked
    if rule is None:
        return None
    beyond = len(rule.ladder) + 1
    if rule.profit_quote is not None and tracked.stage < beyond:
        level = tracked.side.shifted(tracked.entry_price, rule.profit_quote / abs(tracked.size))
        if look.has_passed(level):
            return msgspec.structs.replace(look.verdict("take_profit", level, fires=True), stage=beyond)
    if tracked.stage >= len(rule.ladder):
        return look.verdict("take_profit", None, fires=False)
    stage = rule.ladder[tracked.stage]
    level = tracked.side.moved(tracked.entry_price, stage.profit_pct)
    verdict = look.verdict("take_profit", level, fires=look.has_passed(level))
    return msgspec.structs.replace(verdict, close_pct=stage.close_pct, stage=tracked.stage + 1)


def max_hold(look: Look, rules: Rules) -> Verdict | None:
    """Fires at the greatest age whatever the price, known or not."""
    rule = rules.time_limit
    if rule is None:
        return None
    verdict = look.verdict("max_hold", None, fires=look.held() >= rule.max_hold)
    return msgspec.structs.replace(verdict, held_s=look.held().total_seconds())


def decaying_target(look: Look, rules: Rules) -> Verdict | None:
    """Fires at a profit that shrinks with age, down to a tenth, from an hour on."""
    rule = rules.time_limit
    if rule is None:
        return None
    microsecond = timedelta(microseconds=1)
    left = Decimal((rule.max_hold - look.held()) // microsecond) / (rule.max_hold // microsecond)
    target_pct = rule.profit_target_pct * max(left, SMALLEST_TARGET_SHARE)
    level = look.tracked.side.moved(look.tracked.entry_price, target_pct)
    verdict = look.verdict(
        "decaying_target", level, fires=look.held() >= DECAY_STARTS and look.has_reached(level)
    )
    return msgspec.structs.replace(verdict, held_s=look.held().total_seconds())


RULES: dict[str, Rule] = {
    "stop_loss": stop_loss,
    "trailing_stop": trailing_stop,
    "take_profit": take_profit,
    "max_hold": max_hold,
    "decaying_target": decaying_target,
}
"""In order of evaluation: the stop loss first."""


def _priority(verdict: Verdict) -> int:
    return PRIORITY[verdict.rule]
