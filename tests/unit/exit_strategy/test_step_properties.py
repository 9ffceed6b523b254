"""What holds for every stream of prices, in whatever order and how often it arrives."""

from datetime import timedelta
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.exit_strategy.book import MAX_AGE, START, long, price, rules, short, sl, tp, trail

from common.core.exits.step import step

OF = rules(sl(2), tp((3, 50), (5, 100)), trail(2, 1))
NOW = START + timedelta(seconds=50)

positions = st.sampled_from([long(), short()])
values = st.decimals("90", "110", places=2)
streams = st.lists(values, min_size=1, max_size=12).map(
    lambda stream: [price(value, START + timedelta(seconds=second)) for second, value in enumerate(stream)]
)


def run(position, stream):
    for seen in stream:
        position, _, _ = step(position, seen, OF, NOW, MAX_AGE)
    return position


@given(positions, streams)
def test_the_peak_only_ever_improves_and_the_trailing_stop_only_tightens(position, stream):
    for seen in stream:
        before = position
        position, _, _ = step(position, seen, OF, NOW, MAX_AGE)
        assert not position.side.is_better(before.peak_price, position.peak_price)
        assert position.armed or not before.armed


@given(positions, streams)
def test_the_peak_is_the_best_price_of_the_stream(position, stream):
    best = position.entry_price
    for seen in stream:
        best = position.side.best(best, seen.value)

    assert run(position, stream).peak_price == best


@given(positions, streams, st.data())
def test_duplicates_change_nothing(position, stream, data):
    twice = [seen for seen in stream for _ in range(data.draw(st.integers(1, 3)))]

    once, again = run(position, stream), run(position, twice)

    # The same latch; a ladder may not take a stage more for it.
    assert once == again


@given(positions, streams, st.randoms())
def test_late_prices_leave_the_position_as_the_prices_in_order_would(position, stream, chance):
    arrived = list(stream)
    chance.shuffle(arrived)
    kept = []
    for seen in arrived:
        if not kept or seen.seen_at >= kept[-1].seen_at:
            kept.append(seen)

    assert run(position, arrived) == run(position, kept)


@given(positions, streams)
def test_a_price_at_the_stop_or_beyond_always_ends_latched(position, stream):
    after = run(position, stream)

    stop = position.side.moved(position.entry_price, Decimal(-2))
    if any(not position.side.is_better(seen.value, stop) for seen in stream):
        assert after.latched_rule == "stop_loss"


@given(positions, streams)
def test_a_long_and_its_mirrored_short_decide_alike(position, stream):
    mirrored = short() if position.side == "long" else long()
    reflected = [msgspec.structs.replace(seen, value=200 - seen.value) for seen in stream]
    # Around 100 percent moves mirror exactly; the trailing stop's percent of the peak does not.
    of = rules(sl(2), tp((3, 50), (5, 100)))
    for seen, reflection in zip(stream, reflected, strict=True):
        position, _, one = step(position, seen, of, NOW, MAX_AGE)
        mirrored, _, other = step(mirrored, reflection, of, NOW, MAX_AGE)
        assert type(one) is type(other)
        assert position.latched_rule == mirrored.latched_rule
