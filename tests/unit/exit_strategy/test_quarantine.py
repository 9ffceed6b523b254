from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.exit_strategy.book import START, price

from exit_strategy.core.quarantine import ENOUGH, KEPT, Recent, admitted, is_far

CALM = tuple(Decimal(value) for value in ("100", "100.02", "99.98", "100.01") * 4)
EIGHT = Decimal(8)


def after(*values, recent=None, source="price_seen"):
    """Whether each price, a second after the one before, may be evaluated."""
    recent = recent or Recent(values=CALM)
    told = []
    for second, value in enumerate(values, start=1):
        seen = msgspec.structs.replace(price(value, START + timedelta(seconds=second)), source=source)
        recent, may = admitted(recent, seen, EIGHT)
        told.append(may)
    return told, recent


TALES = {
    "an ordinary move": (["100.3"], [True]),
    "one wild tick": (["60", "100.01"], [False, True]),
    "a crash": (["90", "90.1"], [False, True]),
    "a crash that goes on": (["90", "80", "70"], [False, True, True]),
    "a crash that half recovers": (["90", "95"], [False, True]),
    "down, then as far up": (["90", "110"], [False, False]),
    "no price is for the rules to judge": ([None, "NaN", "0"], [True, True, True]),
}


@pytest.mark.parametrize("name", TALES)
def test_a_price_far_off_waits_for_one_that_confirms_it(name):
    values, expected = TALES[name]

    told, _ = after(*values)

    assert told == expected


def test_what_was_confirmed_is_the_new_middle_and_nothing_is_suspect_any_more():
    _, recent = after("90", "90.1")

    assert recent == Recent(values=(Decimal(90), Decimal("90.1")))


def test_the_same_price_again_confirms_nothing_but_one_of_another_source_does():
    suspect = price("90", START)
    recent, _ = admitted(Recent(values=CALM), suspect, EIGHT)

    assert admitted(recent, suspect, EIGHT)[1] is False
    assert admitted(recent, msgspec.structs.replace(suspect, source="features_latest"), EIGHT)[1] is True


def test_an_ordinary_price_clears_the_suspect():
    _, recent = after("90", "100.01")

    assert recent.suspect is None


def test_with_few_prices_every_one_is_believed():
    assert not is_far(CALM[: ENOUGH - 1], Decimal(50), EIGHT)
    assert is_far(CALM[:ENOUGH], Decimal(50), EIGHT)


def test_a_market_that_stands_still_may_tick():
    still = (Decimal(100),) * ENOUGH

    assert not is_far(still, Decimal("100.4"), EIGHT)
    assert is_far(still, Decimal("100.41"), EIGHT)


@given(st.lists(st.decimals("99", "101", places=2), min_size=KEPT + 1, max_size=KEPT + 9))
def test_only_the_newest_prices_are_remembered(values):
    _, recent = after(*values, recent=Recent())

    assert len(recent.values) <= KEPT


@given(st.decimals("1", "99", places=2), st.decimals("1", "50", places=2))
def test_a_fall_that_is_seen_twice_is_never_kept_from_the_rules(first, further):
    told, _ = after(str(first), str(max(first - further, Decimal("0.01"))))

    assert told[1]
