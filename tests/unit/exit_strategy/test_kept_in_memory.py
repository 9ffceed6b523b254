"""What a worker may keep for itself for a moment, and how that meets with the stored row."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.exit_strategy.book import START, long, looked, rules, short, sl, trail

from common.core.exits.position import with_seen
from common.core.exits.rules import whole
from exit_strategy.core.keeping import PEAK_STEP, may_wait

LATER = START + timedelta(seconds=1)

CHANGES = {
    "nothing": ({}, True),
    "figures": ({"last_price": Decimal(99), "last_evaluated_at": LATER}, True),
    "a hardly better best": ({"peak_price": Decimal("100.05")}, True),
    "a better best": ({"peak_price": Decimal("100.0501")}, False),
    "a hardly better best of a short": ({"peak_price": Decimal("99.95")}, True),
    "a better best of a short": ({"peak_price": Decimal("99.9499")}, False),
    "an armed trailing stop": ({"armed": True}, False),
    "another rule set": ({"rules_version": "b"}, False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_only_what_a_crash_may_take_back_waits(name):
    changes, expected = CHANGES[name]
    stored = long(rules_version="a")

    assert may_wait(stored, msgspec.structs.replace(stored, **changes)) is expected


@given(st.lists(st.decimals("90", "130", places=3), min_size=1, max_size=40), st.booleans())
def test_after_a_crash_the_best_price_is_less_than_a_tenth_of_a_percent_off(values, is_long):
    of = whole(rules(sl(50), trail(2, 1)))
    seen = stored = long(entry="100") if is_long else short(entry="100")
    for value in values:
        seen, _, _ = looked(seen, value, of)
        if not may_wait(stored, seen):
            stored = seen

    assert abs(stored.peak_price / seen.peak_price - 1) < Decimal("0.001")
    assert stored.armed == seen.armed
    assert abs(stored.peak_price - seen.peak_price) <= stored.peak_price * PEAK_STEP


def test_a_row_gets_back_what_was_seen_and_not_stored():
    stored = long(best_pnl_pct=Decimal(1), last_evaluated_at=START, last_price=Decimal(100))
    seen = msgspec.structs.replace(
        stored,
        peak_price=Decimal(103),
        best_pnl_pct=Decimal(3),
        armed=True,
        last_price=Decimal(102),
        last_evaluated_at=LATER,
        price_source="price_seen",
    )

    assert with_seen(stored, seen) == seen
    assert with_seen(seen, stored) == seen


def test_size_entry_latch_and_stop_are_what_the_row_says():
    seen = long(size="1", stop_price=Decimal(99), latched_rule="take_profit")
    stored = long(size="2", entry="101", peak_price=Decimal(101), generation=1)

    assert with_seen(stored, seen) == stored


def test_another_lifes_best_is_not_this_ones():
    seen = long(peak_price=Decimal(120), lifecycle_id=UUID(int=5))

    assert with_seen(long(), seen) == long()
    assert with_seen(long(), None) == long()


def test_the_best_of_a_short_is_its_lowest_and_a_first_price_is_newer_than_none():
    seen = short(peak_price=Decimal(97), last_evaluated_at=LATER, last_price=Decimal(98))

    after = with_seen(short(), seen)

    assert (after.peak_price, after.last_price, after.last_evaluated_at) == (97, 98, LATER)


def test_of_two_prices_of_one_instant_the_stored_one_stays():
    stored = long(last_evaluated_at=LATER, last_price=Decimal(98))

    assert with_seen(stored, msgspec.structs.replace(stored, last_price=Decimal(99))) == stored
