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

from common.core.exits.position import ALL, LONG, Side, Tracked, Verdict

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
LEVELS_KEPT = 4096
"""Of so many positions the standing levels are remembered; of more they are worked out anew."""


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


class Rules(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """The rules of a position; None: switched off."""

    stop_loss: StopLoss | None = None
    trailing_stop: TrailingStop | None = None
    take_profit: TakeProfit | None = None
    time_limit: TimeLimit | None = None
    version: str | None = None
    """Names a whole rule set, see `whole`; None: a part of one, of which a position remembers nothing."""


class Levels(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Prices at which `rules` fire that stand while a position's entry and size do, each worked out once."""

    side: Side
    entry_price: Decimal
    size: Decimal
    rules: Rules

    @functools.cached_property
    def loss(self) -> Decimal | None:
        """Of the stop loss; None: switched off."""
        return _loss_level(self, self.rules.stop_loss)

    @functools.cached_property
    def lock_in(self) -> Decimal | None:
        """What the trailing stop is never worse than; None: nothing."""
        return _lock_in_level(self, self.rules.trailing_stop)

    @functools.cached_property
    def stages(self) -> tuple[Decimal, ...]:
        """Of the take profit's ladder; none where it is switched off."""
        return _stage_levels(self, self.rules.take_profit)

    @functools.cached_property
    def whole_profit(self) -> Decimal | None:
        """Above which all is closed for its absolute profit; None: switched off."""
        return _whole_profit_level(self, self.rules.take_profit)


class Look(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A position at an instant and a price; None: no usable one is known."""

    tracked: Tracked
    levels: Levels
    """Under the rules that it is looked at with."""
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


@functools.lru_cache(maxsize=LEVELS_KEPT)
def levels(side: Side, entry_price: Decimal, size: Decimal, rules: Rules) -> Levels:
    """The standing levels of a position of this side, entry and size."""
    return Levels(side=side, entry_price=entry_price, size=size, rules=rules)


def look_at(tracked: Tracked, price: Decimal | None, now: datetime, rules: Rules) -> Look:
    """`tracked` at `price`, with the profit that this is and the levels under `rules`."""
    held = now - tracked.opened_at
    return Look(
        tracked=tracked,
        levels=levels(tracked.side, tracked.entry_price, tracked.size, rules),
        price=price,
        pnl_pct=None if price is None else tracked.pnl_pct(price),
        held=held,
        held_s=held.total_seconds(),
    )


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
        if verdict.rule in STOPS and (level := verdict.level) is not None:
            stop = level if stop is None or is_better(level, stop) else stop
    return stop


def operator(look: Look, _: Rules) -> Verdict | None:
    """Fires once an operator asked for the close, whatever the price, known or not."""
    if look.tracked.close_requested_at is None:
        return None
    return Verdict(rule=OPERATOR, fires=True, pnl_pct=look.pnl_pct)


def stop_loss(look: Look, _: Rules) -> Verdict | None:
    """Fires at the stop or beyond it."""
    level = look.levels.loss
    if level is None:
        return None
    return Verdict(rule="stop_loss", fires=look.has_fallen_to(level), level=level, pnl_pct=look.pnl_pct)


def kept_stop(look: Look, rules: Rules) -> Verdict | None:
    """Fires at the tightest stop of this life, where the present rules have none as tight; else is silent."""
    tracked, kept = look.tracked, look.tracked.stop_price
    if kept is None or rules.version is None or not look.has_fallen_to(kept):
        return None
    for level in (look.levels.loss, _trailing_level(look, rules)):
        if level is not None and not tracked.side.is_better(kept, tracked.side.shifted(level, STORED_STEP)):
            return None
    return Verdict(rule="kept_stop", fires=True, level=kept, pnl_pct=look.pnl_pct)


def trailing_stop(look: Look, rules: Rules) -> Verdict | None:
    """Fires once the price has come back `distance_pct` from its best, when armed."""
    if rules.trailing_stop is None:
        return None
    level = _trailing_level(look, rules)
    fires = level is not None and look.has_fallen_to(level)
    return Verdict(rule="trailing_stop", fires=fires, level=level, pnl_pct=look.pnl_pct)


def take_profit(look: Look, rules: Rules) -> Verdict | None:
    """Fires above the next stage's profit, not at it; each stage once a lifecycle."""
    rule, tracked = rules.take_profit, look.tracked
    if rule is None:
        return None
    beyond = len(rule.ladder) + 1
    whole_profit = look.levels.whole_profit
    if whole_profit is not None and tracked.stage < beyond and look.has_passed(whole_profit):
        return Verdict(rule="take_profit", fires=True, level=whole_profit, pnl_pct=look.pnl_pct, stage=beyond)
    if tracked.stage >= len(rule.ladder):
        return Verdict(rule="take_profit", fires=False, pnl_pct=look.pnl_pct)
    level = look.levels.stages[tracked.stage]
    return Verdict(
        rule="take_profit",
        fires=look.has_passed(level),
        level=level,
        pnl_pct=look.pnl_pct,
        close_pct=rule.ladder[tracked.stage].close_pct,
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


def _loss_level(position: Levels, rule: StopLoss | None) -> Decimal | None:
    if rule is None:
        return None
    side, entry = position.side, position.entry_price
    level = side.moved(entry, -rule.loss_pct)
    if rule.loss_quote is None:
        return level
    return side.best(level, side.shifted(entry, -rule.loss_quote / abs(position.size)))


def _lock_in_level(position: Levels, rule: TrailingStop | None) -> Decimal | None:
    if rule is None or rule.lock_in_pct is None:
        return None
    return position.side.moved(position.entry_price, rule.lock_in_pct)


def _stage_levels(position: Levels, rule: TakeProfit | None) -> tuple[Decimal, ...]:
    ladder = () if rule is None else rule.ladder
    return tuple(position.side.moved(position.entry_price, stage.profit_pct) for stage in ladder)


def _whole_profit_level(position: Levels, rule: TakeProfit | None) -> Decimal | None:
    if rule is None or rule.profit_quote is None:
        return None
    return position.side.shifted(position.entry_price, rule.profit_quote / abs(position.size))


def _target_pct(rule: TimeLimit, held: timedelta) -> Decimal:
    left = ((rule.max_hold - held) // MICROSECOND) / _microseconds(rule.max_hold)
    return rule.profit_target_pct * max(left, SMALLEST_TARGET_SHARE)


@functools.cache
def _microseconds(duration: timedelta) -> Decimal:
    return Decimal(duration // MICROSECOND)


def _trailing_level(look: Look, rules: Rules) -> Decimal | None:
    rule, tracked = rules.trailing_stop, look.tracked
    if rule is None or not tracked.armed:
        return None
    level = tracked.side.moved(tracked.peak_price, -rule.distance_pct)
    lock_in = look.levels.lock_in
    return level if lock_in is None else tracked.side.best(level, lock_in)
