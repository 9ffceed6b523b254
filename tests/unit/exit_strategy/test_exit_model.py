"""Every order of prices, views, answers, restarts and outages: what must hold whatever happens."""

from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.machines import finds_a_bug
from tests.unit.exit_strategy.book import START
from tests.unit.exit_strategy.world import PLANTED, SYMBOL, World

from common.core.exits.position import View

values = (
    st.decimals("98.1", "106", places=2)
    | st.decimals("94", "101.9", places=2)
    | st.decimals("88", "112", places=2)
)
numbers = st.sampled_from([0, 1])
sizes = st.sampled_from(["0.37", "5.11", "29.03", "-0.41", "-7.13", "-31.07"]).map(Decimal)


class Exits(RuleBasedStateMachine):
    """A world in which anything may happen next."""

    world_type = World

    def __init__(self):
        super().__init__()
        self.world = self.world_type()
        self.heard = []
        self.world.trades(Decimal("29.03"))
        self.world.sees(self.world.views[-1])

    @rule(value=values, hearers=st.lists(numbers, min_size=1, max_size=4))
    def a_price_comes_once_or_twice_to_one_worker_or_both(self, value, hearers):
        price = self.world.moves(value)
        self.heard.append(price)
        for number in hearers:
            self.world.hear(self.world.workers[number], price)

    @precondition(lambda self: self.heard)
    @rule(data=st.data(), number=numbers)
    def a_late_price_comes(self, data, number):
        self.world.hear(self.world.workers[number], data.draw(st.sampled_from(self.heard[-5:])))

    @rule(size=sizes)
    def somebody_trades(self, size):
        self.world.trades(size)

    @rule()
    def the_position_is_closed_by_hand(self):
        if self.world.size:
            self.world.trades(-self.world.size)

    @rule()
    def the_position_flips(self):
        if self.world.size:
            self.world.trades(-2 * self.world.size)

    @rule(data=st.data())
    def a_view_comes_early_late_or_again(self, data):
        self.world.sees(data.draw(st.sampled_from(self.world.views[-4:])))

    @rule(answer=st.sampled_from(["fill", "half", "reject", "ignore"]))
    def the_order_manager_answers(self, answer):
        self.world.answers(answer)

    @rule(seconds=st.sampled_from([0.1, 0.25, 1, 5, 16, 61]))
    def time_passes(self, seconds):
        self.world.passes(timedelta(seconds=seconds))

    @rule(number=numbers)
    def a_worker_restarts(self, number):
        self.world.restart(number)

    @rule()
    def the_broker_goes_or_returns(self):
        self.world.broker_up = not self.world.broker_up

    @rule()
    def the_database_goes_or_returns(self):
        if self.world.database_up:
            self.world.database_up = False
        else:
            self.world.database_returns()

    @invariant()
    def what_must_hold_holds(self):
        self.world.check()

    def teardown(self):
        self.world.closes_in_time()


Exits.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestExits = Exits.TestCase


@pytest.mark.parametrize("bug", PLANTED)
def test_the_model_finds_a_planted_bug(bug):
    assert finds_a_bug(type(bug.__name__, (Exits,), {"world_type": bug}))


views = st.lists(
    st.tuples(st.sampled_from(["5", "7", "3.2"]), st.decimals("95", "105", places=2)), min_size=1, max_size=6
)
streams = st.lists(values, max_size=6)


def delivered(world, updates):
    for update in updates:
        if isinstance(update, View):
            world.sees(update)
        else:
            world.hear(world.workers[0], update)
    return world.row


def updates_of(world, seen, stream):
    """Views and prices of one life, oldest first, all before the present."""
    found = []
    for size, entry in seen:
        world.tick()
        found.append(View(symbol=SYMBOL, size=Decimal(size), entry_price=entry, seen_at=world.now))
    found += [world.moves(value) for value in stream]
    return found


@given(views, streams, st.randoms())
def test_the_final_size_entry_and_price_do_not_depend_on_the_order_of_updates(seen, stream, chance):
    world, other = World(), World()
    world.begin(View(symbol=SYMBOL, size=Decimal(5), entry_price=Decimal(100), seen_at=START))
    other.row, other.best = world.row, world.best
    updates = updates_of(world, seen, stream)
    other.now = world.now
    shuffled = list(updates)
    chance.shuffle(shuffled)

    one, another = delivered(world, updates), delivered(other, shuffled)

    for name in ("size", "entry_price", "newest_event_at", "last_price", "last_evaluated_at"):
        assert getattr(one, name) == getattr(another, name)


@given(views, streams, st.data())
def test_the_final_state_does_not_depend_on_duplicates(seen, stream, data):
    world, other = World(), World()
    world.begin(View(symbol=SYMBOL, size=Decimal(5), entry_price=Decimal(100), seen_at=START))
    other.row, other.best = world.row, world.best
    updates = updates_of(world, seen, stream)
    other.now = world.now
    again = [update for update in updates for _ in range(data.draw(st.integers(1, 3)))]

    one, another = delivered(world, updates), delivered(other, again)

    assert msgspec.structs.replace(one, verdicts=None) == msgspec.structs.replace(another, verdicts=None)
