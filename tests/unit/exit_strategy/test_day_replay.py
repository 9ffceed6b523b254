"""A whole day of 1-minute prices over 200 positions, against rules written out in integers."""

import random
from datetime import timedelta
from decimal import Decimal

import msgspec
from tests.unit.exit_strategy.book import START, hold_for, long, price, rules, short, sl, tp, trail

from common.core.exits.rules import whole
from common.core.exits.step import Exit, step

MINUTES = 1440
POSITIONS = 200
TICK = 100_000_000
MAX_AGE = timedelta(seconds=60)

# Basis points, and minutes: stop, activation, distance, ladder of (target, share), greatest age, its target.
SETS = [
    (200, None, None, ((300, 100),), None, None),
    (150, 200, 100, ((300, 50), (500, 100)), 480, 100),
    (None, 100, 50, (), None, None),
    (300, 150, 75, ((200, 30), (250, 50), (400, 100)), None, None),
    (250, None, None, (), 180, 80),
    (None, None, None, ((100, 100),), 90, 120),
]


def configured(stop, activation, distance, ladder, age, target):
    groups = []
    if stop is not None:
        groups.append(sl(Decimal(stop) / 100))
    if activation is not None:
        groups.append(trail(Decimal(activation) / 100, Decimal(distance) / 100))
    if ladder:
        groups.append(tp(*((Decimal(at) / 100, share) for at, share in ladder)))
    if age is not None:
        groups.append(hold_for(age / 60, Decimal(target) / 100))
    return whole(rules(*groups))


def walk(chance):
    """Prices in ticks, one a minute."""
    at = chance.choice([2_000, 150, 100 * TICK, 91_234 * TICK])
    volatility = chance.uniform(0.0005, 0.004)
    for _ in range(MINUTES):
        at = max(1, round(at * (1 + chance.gauss(0, volatility))))
        yield at


class Reference:
    """The rules as inequalities between integers; no price level is ever computed."""

    def __init__(self, is_long, entry, numbers):
        self.sign = 1 if is_long else -1
        self.entry = self.best = entry
        self.numbers = numbers
        self.armed = False
        self.stage = 0

    def gains(self, now, since, points):
        """Sign of (gain from `since` to `now` in basis points) - `points`."""
        return self.sign * (now - since) * 10_000 - since * points

    def decide(self, now, minute):
        stop, activation, distance, ladder, age, target = self.numbers
        if self.sign * (now - self.best) > 0:
            self.best = now
        if activation is not None and self.gains(self.best, self.entry, activation) >= 0:
            self.armed = True
        if stop is not None and self.gains(now, self.entry, -stop) <= 0:
            return "stop_loss 100"
        if self.armed and self.gains(now, self.best, -distance) <= 0:
            return "trailing_stop 100"
        if self.stage < len(ladder) and self.gains(now, self.entry, ladder[self.stage][0]) > 0:
            self.stage += 1
            return f"take_profit {ladder[self.stage - 1][1]}"
        if age is None:
            return "hold"
        if minute >= age:
            return "max_hold 100"
        # gain >= target * max((age - minute) / age, 1 / 10), both sides times 10 * age
        share = max(10 * (age - minute), age)
        gain = self.sign * (now - self.entry) * 10_000 * 10 * age
        return "decaying_target 100" if minute >= 60 and gain >= self.entry * target * share else "hold"


def test_a_day_of_200_positions_is_decided_as_by_the_reference():
    chance = random.Random(20261122)
    seen = {}
    for number in range(POSITIONS):
        numbers = SETS[number % len(SETS)]
        of, make = configured(*numbers), long if chance.random() < 0.5 else short
        position = reference = None
        for minute, ticks in enumerate(walk(chance)):
            value = str(Decimal(ticks) / TICK)
            at = START + timedelta(minutes=minute)
            if position is None:
                position = msgspec.structs.replace(make(value), opened_at=at)
                reference, opened_in = Reference(make is long, ticks, numbers), minute
                continue
            position, _, decision = step(position, price(value, at), of, at, MAX_AGE)
            is_exit = isinstance(decision, Exit)
            said = f"{decision.verdict.rule} {decision.verdict.close_pct}" if is_exit else "hold"

            assert said == reference.decide(ticks, minute - opened_in), (number, minute, value)

            seen[said] = seen.get(said, 0) + 1
            if is_exit:
                is_all = decision.verdict.close_pct == 100
                position = None if is_all else msgspec.structs.replace(position, latched_rule=None)

    assert sum(seen.values()) > 0.9 * MINUTES * POSITIONS
    for rule in (
        "stop_loss 100",
        "trailing_stop 100",
        "take_profit 50",
        "max_hold 100",
        "decaying_target 100",
    ):
        assert seen[rule] > 20, seen


def test_the_peak_is_within_a_thousandth_of_the_true_one_under_a_stream_of_updates():
    """The market moves ten times a second; a price comes every second, some twice, some late."""
    chance = random.Random(7)
    of = rules(sl(90))
    for make in (long, short):
        position, now, value, true_best = make("100"), START, 100.0, 100.0
        late = []
        for tick in range(36_000):
            value *= 1 + chance.gauss(0, 0.00005)
            true_best = max(true_best, value) if make is long else min(true_best, value)
            now = START + timedelta(milliseconds=100 * tick)
            if tick % 10:
                continue
            heard = price(f"{value:.2f}", now)
            late.append(heard)
            for update in [heard] * chance.choice([1, 1, 2]) + late[-3 : -3 + chance.choice([0, 1])]:
                position, _, _ = step(position, update, of, now, MAX_AGE)

        assert abs(float(position.peak_price) / true_best - 1) < 0.001
