"""Goal 8, the pure part: how many positions one core evaluates a second.

The processor time of `step` alone, so that other work on the machine counts little. The floor is of the same
round: one comparison of two Decimals, which no rule can do without.
"""

import functools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
from tests.benchmarks.result import Result, at_least

from common.core.exits.position import Opening, Price, Tracked, View, opened
from common.core.exits.rules import Rules, Stage, StopLoss, TakeProfit, TimeLimit, TrailingStop, whole
from common.core.exits.step import step

ROUNDS = 5
POSITIONS = 200
PRICES = 100
GOAL_PER_S = 200_000
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MAX_AGE = timedelta(seconds=60)

STOP = StopLoss(loss_pct=Decimal(2))
TARGET = TakeProfit(ladder=(Stage(profit_pct=Decimal(3), close_pct=Decimal(100)),))
TRAIL = TrailingStop(activation_pct=Decimal(1), distance_pct=Decimal("0.9"))
AGE = TimeLimit(max_hold=timedelta(hours=24), profit_target_pct=Decimal(5))

EVERYTHING = Rules(
    stop_loss=StopLoss(loss_pct=Decimal(2), loss_quote=Decimal(3)),
    take_profit=TakeProfit(
        ladder=(
            Stage(profit_pct=Decimal(3), close_pct=Decimal(50)),
            Stage(profit_pct=Decimal(5), close_pct=Decimal(100)),
        ),
        profit_quote=Decimal(50),
    ),
    trailing_stop=TrailingStop(
        activation_pct=Decimal(1), distance_pct=Decimal("0.9"), lock_in_pct=Decimal("0.5")
    ),
    time_limit=AGE,
)
SETS = {
    "defaults": whole(Rules(stop_loss=STOP, take_profit=TARGET)),
    "and an armed trailing stop": whole(Rules(stop_loss=STOP, take_profit=TARGET, trailing_stop=TRAIL)),
    "and time": whole(Rules(stop_loss=STOP, take_profit=TARGET, trailing_stop=TRAIL, time_limit=AGE)),
    "and all else": whole(EVERYTHING),
}


def results() -> Iterator[Result]:
    """Evaluations a second for each set of rules."""
    figures: dict[str, list[float]] = {name: [] for name in SETS}
    comparisons: list[float] = []
    for _ in range(ROUNDS):
        comparisons.append(_per_second(_compare))
        for name, rules in SETS.items():
            figures[name].append(_per_second(functools.partial(_evaluate, rules)))
    for name, rounds in figures.items():
        yield Result(
            goal=f"8 exit rules, {name}",
            unit="evaluations/s",
            rounds=rounds,
            floors=comparisons,
            target=at_least(GOAL_PER_S),
        )


def _per_second(work: Callable[[], int]) -> float:
    began = time.process_time()
    done = work()
    return done / (time.process_time() - began)


def _evaluate(rules: Rules) -> int:
    positions = [_position(number) for number in range(POSITIONS)]
    for now, prices in _MARKET:
        for number, position in enumerate(positions):
            positions[number], _, _ = step(position, prices[number], rules, now, MAX_AGE)
    if any(position.latched_rule for position in positions):
        raise AssertionError("prices were chosen that fire no rule")
    return POSITIONS * PRICES


def _compare() -> int:
    level = Decimal("98.0")
    fallen = sum(price.value <= level for price in _SEEN for _ in range(20) if price.value)
    if fallen:
        raise AssertionError("no price is that low")
    return len(_SEEN) * 20


def _position(number: int) -> Tracked:
    view = View(
        symbol="BTCUSDT",
        size=Decimal(1 if number % 2 else -1),
        entry_price=Decimal(100),
        seen_at=START,
    )
    opening = Opening(lifecycle_id=UUID(int=number), strategy_id="default", opened_at=START)
    position = opened(view, Decimal(100), opening)
    best = position.side.moved(position.entry_price, Decimal(2))
    return msgspec.structs.replace(position, peak_price=best)


# Between the armed trailing stop and the peak, on the good side of the entry.
def _price(second: int, number: int, now: datetime) -> Price:
    gain = _GAINS[(second + number) % len(_GAINS)]
    value = 100 + gain if number % 2 else 100 - gain
    return Price(value=value, seen_at=now, source="price_seen")


_GAINS = [Decimal(points) / 100 for points in range(130, 190)]
_MARKET = [
    (now, [_price(second, number, now) for number in range(POSITIONS)])
    for second in range(PRICES)
    for now in [START + timedelta(hours=2, seconds=second)]
]
_SEEN = [_price(second, 1, START) for second in range(5_000)]
