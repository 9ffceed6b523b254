"""Which prices a worker may keep to itself, and when it looks again by itself."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from tests.unit.exit_strategy.book import long, rules, sl, tp, trail

from common.core.exits.dispatch import Limits
from common.core.exits.position import Price
from common.core.exits.rules import whole
from exit_strategy.lookout import COUNTED_FOR_S, Lookout
from exit_strategy.policy import Policy

OF = whole(rules(sl(2), tp((3, 100)), trail(2, 1)))
DEBOUNCE = timedelta(milliseconds=30)


class Known:
    """What a worker knows of positions."""

    def __init__(self):
        self.positions = {}

    def known(self, symbol):
        return self.positions.get(symbol)

    def keep(self, tracked):
        self.positions[tracked.symbol] = tracked


class Desk:
    """A lookout over one stored position, and what it asked to evaluate."""

    def __init__(self, **changes):
        limits = Limits(
            reissue=timedelta(seconds=15), entry_gap=timedelta(0), max_order_notional=Decimal(950)
        )
        policy = Policy(
            enabled=True,
            rules_of=lambda *_: OF,
            limits=limits,
            price_max_age=timedelta(seconds=60),
            debounce=DEBOUNCE,
        )
        self.known = Known()
        self.evaluated = []
        self.lookout = Lookout(policy, None, self.known, self.evaluate)
        self.position = long(rules_version=OF.version, opened_at=datetime.now(UTC), **changes)
        self.known.keep(self.position)

    async def evaluate(self, symbol, price):
        self.evaluated.append((datetime.now(UTC), symbol, price))

    def passes(self, value, symbol="BTCUSDT"):
        seen = Price(
            value=None if value is None else Decimal(value), seen_at=datetime.now(UTC), source="price_seen"
        )
        return self.lookout.passes(symbol, seen)


@pytest.fixture
async def desk():
    one = Desk()
    one.lookout.stored(one.position)
    yield one
    await one.lookout.aclose()


async def test_a_price_that_changes_figures_is_remembered(desk):
    assert desk.passes("100.03")

    known = desk.known.known("BTCUSDT")
    assert (known.last_price, known.peak_price) == (Decimal("100.03"), Decimal("100.03"))
    assert [verdict.rule for verdict in known.verdicts] == ["stop_loss", "trailing_stop", "take_profit"]


@pytest.mark.parametrize("value", ["98", "100.2", "102.5"])
async def test_what_fires_arms_or_is_much_better_does_not_pass(desk, value):
    assert not desk.passes(value)
    assert desk.known.known("BTCUSDT") is desk.position


async def test_small_gains_pass_until_together_they_are_too_much(desk):
    assert desk.passes("100.03")
    assert not desk.passes("100.06")


async def test_a_price_that_cannot_be_used_passes_and_changes_nothing(desk):
    assert desk.passes(None)
    assert desk.known.known("BTCUSDT") is desk.position


async def test_the_first_price_of_a_position_and_of_the_next_one_does_not_pass(desk):
    desk.lookout.ended("BTCUSDT")

    assert not desk.passes("100.01")


async def test_every_price_of_a_latched_position_goes_to_its_row(desk):
    desk.known.keep(msgspec.structs.replace(desk.position, latched_rule="stop_loss"))

    assert not desk.passes("100.01")


async def test_a_symbol_is_flat_only_for_a_while_after_all_were_counted_and_not_once_one_began(desk):
    now = asyncio.get_running_loop().time()

    assert not desk.passes("5", "ETHUSDT")
    desk.lookout.counted({"BTCUSDT"}, now)
    assert desk.passes("5", "ETHUSDT")
    desk.lookout.begun("ETHUSDT")
    assert not desk.passes("5", "ETHUSDT")
    desk.lookout.counted({"BTCUSDT"}, asyncio.get_running_loop().time() + 1)
    assert desk.passes("5", "ETHUSDT")
    desk.lookout.counted({"BTCUSDT"}, now - COUNTED_FOR_S - 1)
    assert not desk.passes("5", "ETHUSDT")


async def test_a_window_ends_with_its_newest_price_and_never_early(desk):
    opened_at = datetime.now(UTC)
    desk.lookout.stored(msgspec.structs.replace(desk.position, peak_price=Decimal("103.02"), armed=True))
    desk.known.keep(msgspec.structs.replace(desk.position, peak_price=Decimal("103.02"), armed=True))

    assert desk.passes("103.01")
    assert desk.passes("103.02")
    async with asyncio.timeout(5):
        while not desk.evaluated:
            await asyncio.sleep(0.005)

    [(at, symbol, price)] = desk.evaluated
    assert at >= opened_at + DEBOUNCE
    assert (symbol, price.value) == ("BTCUSDT", Decimal("103.02"))


async def test_the_window_of_a_position_that_is_closed_ends_with_nothing(desk):
    desk.lookout.stored(msgspec.structs.replace(desk.position, peak_price=Decimal("103.02"), armed=True))
    desk.known.keep(msgspec.structs.replace(desk.position, peak_price=Decimal("103.02"), armed=True))

    assert desk.passes("103.01")
    desk.lookout.ended("BTCUSDT")
    await asyncio.sleep(2 * DEBOUNCE.total_seconds())

    assert desk.evaluated == []
