"""Whole sets of rules: the strictest of several, and what of one will never fire."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

from common.core.exits.position import ALL
from common.core.exits.rules import (
    DECAY_STARTS,
    SMALLEST_TARGET_SHARE,
    Rules,
    Stage,
    StopLoss,
    TakeProfit,
    TimeLimit,
    TrailingStop,
    whole,
)

T = TypeVar("T", Decimal, timedelta)


def strictest(sets: Sequence[Rules]) -> Rules:
    """Rules that close no later than any of `sets` would: tightest stops, lowest target, least age.

    Where the targets differ, the lowest one closes the whole position. Raises ValueError if there is no set.
    """
    if not sets:
        raise ValueError("no rules to choose from")
    combined = Rules(
        stop_loss=_strictest_loss([each.stop_loss for each in sets if each.stop_loss]),
        trailing_stop=_strictest_trail([each.trailing_stop for each in sets if each.trailing_stop]),
        take_profit=_strictest_profit([each.take_profit for each in sets if each.take_profit]),
        time_limit=_strictest_time([each.time_limit for each in sets if each.time_limit]),
    )
    return combined if all(each.version is None for each in sets) else whole(combined)


def warnings(rules: Rules) -> tuple[str, ...]:
    """What of `rules` will never fire, or fires at once: one sentence each, naming the variables."""
    return (*_of_stop(rules), *_of_trail(rules), *_of_ladder(rules), *_of_time(rules))


def _strictest_loss(rules: list[StopLoss]) -> StopLoss | None:
    if not rules:
        return None
    return StopLoss(
        loss_pct=min(each.loss_pct for each in rules),
        loss_quote=_least([each.loss_quote for each in rules]),
    )


def _strictest_trail(rules: list[TrailingStop]) -> TrailingStop | None:
    if not rules:
        return None
    return TrailingStop(
        activation_pct=min(each.activation_pct for each in rules),
        distance_pct=min(each.distance_pct for each in rules),
        lock_in_pct=max((each.lock_in_pct for each in rules if each.lock_in_pct is not None), default=None),
    )


def _strictest_profit(rules: list[TakeProfit]) -> TakeProfit | None:
    if not rules:
        return None
    ladders = {each.ladder for each in rules}
    lowest = min(each.ladder[0].profit_pct for each in rules)
    ladder = rules[0].ladder if len(ladders) == 1 else (Stage(profit_pct=lowest, close_pct=ALL),)
    return TakeProfit(ladder=ladder, profit_quote=_least([each.profit_quote for each in rules]))


def _strictest_time(rules: list[TimeLimit]) -> TimeLimit | None:
    if not rules:
        return None
    return TimeLimit(
        max_hold=min(each.max_hold for each in rules),
        profit_target_pct=min(each.profit_target_pct for each in rules),
    )


def _least(values: list[Decimal | None]) -> Decimal | None:
    return min((value for value in values if value is not None), default=None)


def _of_stop(rules: Rules) -> list[str]:
    if rules.stop_loss is None or rules.stop_loss.loss_pct:
        return []
    return ["STOP_LOSS_THRESHOLD_PCT is 0: a position is closed as soon as its price is not above its entry"]


def _of_trail(rules: Rules) -> list[str]:
    trail, found = rules.trailing_stop, []
    if trail is None:
        return []
    activation, distance, lock_in = trail.activation_pct, trail.distance_pct, trail.lock_in_pct
    if distance >= activation and not lock_in:
        secured_pct = (100 / (1 - distance / 100)) - 100
        found.append(
            f"TRAILING_STOP_DISTANCE_PCT {distance} is not below TRAILING_STOP_ACTIVATION_PCT {activation}: "
            f"the trailing stop will never secure a profit before the best one was {secured_pct:.2f} %"
        )
    target = _closing_target(rules)
    if target is not None and target <= activation:
        found.append(
            f"the take profit closes all above {target} %, TRAILING_STOP_ACTIVATION_PCT is {activation}: "
            "the trailing stop will never fire"
        )
    if lock_in is not None and lock_in > activation:
        found.append(
            f"TRAILING_STOP_LOCK_IN_PCT {lock_in} is above TRAILING_STOP_ACTIVATION_PCT {activation}: "
            "the stop closes as soon as it arms and will never trail from below the locked-in profit"
        )
    elif lock_in is not None and (1 + activation / 100) * (1 - distance / 100) >= 1 + lock_in / 100:
        found.append(
            f"TRAILING_STOP_LOCK_IN_PCT {lock_in} will never be the stop of a long: from its arming on the "
            "trailing stop is as good or better"
        )
    return found


def _of_ladder(rules: Rules) -> list[str]:
    if rules.take_profit is None:
        return []
    ladder, found = rules.take_profit.ladder, []
    shares = [stage.close_pct for stage in ladder]
    if ALL in shares[:-1]:
        last = ladder[shares.index(ALL)].profit_pct
        found.append(f"the take profit closes all above {last} %: its later stages will never fire")
    if not ladder[0].profit_pct:
        found.append("MODEL_SERVICE_TAKE_PROFIT_PCT is 0: a position is closed as soon as it earns anything")
    return found


def _of_time(rules: Rules) -> list[str]:
    time = rules.time_limit
    if time is None:
        return []
    if time.max_hold <= DECAY_STARTS:
        return ["TIME_BASED_EXIT_MAX_HOURS is not above 1: TIME_BASED_EXIT_PROFIT_TARGET_PCT will never fire"]
    target, smallest = _closing_target(rules), time.profit_target_pct * SMALLEST_TARGET_SHARE
    if target is not None and target < smallest:
        return [
            (
                f"the take profit closes all above {target} %, the least time target is {smallest} %: "
                "TIME_BASED_EXIT_PROFIT_TARGET_PCT will never fire"
            )
        ]
    return []


# The profit above which nothing is left; stages before it close only parts.
def _closing_target(rules: Rules) -> Decimal | None:
    if rules.take_profit is None:
        return None
    return next((each.profit_pct for each in rules.take_profit.ladder if each.close_pct >= ALL), None)
