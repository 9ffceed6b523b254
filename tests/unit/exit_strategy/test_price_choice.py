"""Which of several prices is believed, and when two of them disagree."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from common.core.exits.position import Price
from exit_strategy.core.price_choice import (
    FEATURES_LATEST,
    POSITION_MANAGER,
    PRICE_SEEN,
    Choice,
    choose,
    difference_pct,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MAX_AGE = timedelta(seconds=30)


def price(source, value="100", age_s=0.0):
    return Price(
        value=None if value is None else Decimal(value), seen_at=NOW - timedelta(seconds=age_s), source=source
    )


def chosen(*offers):
    choice = choose(offers, NOW, MAX_AGE)
    return choice and choice.price


def test_the_most_trusted_source_is_believed_whatever_the_order():
    seen, latest, manager = (price(each) for each in (PRICE_SEEN, FEATURES_LATEST, POSITION_MANAGER))

    assert chosen(manager, latest, seen) == seen
    assert chosen(manager, latest) == latest
    assert chosen(price("hearsay"), manager) == manager
    assert chosen(price("hearsay")) == price("hearsay")


@pytest.mark.parametrize(
    ("source", "age_s", "is_usable"),
    [
        (PRICE_SEEN, 5, True),
        (PRICE_SEEN, 5.001, False),
        (FEATURES_LATEST, 30, True),
        (FEATURES_LATEST, 30.001, False),
        (POSITION_MANAGER, 30, True),
        (POSITION_MANAGER, 30.001, False),
    ],
)
def test_an_announced_price_ages_in_five_seconds_any_other_with_the_limit(source, age_s, is_usable):
    assert (chosen(price(source, age_s=age_s)) is not None) == is_usable


@pytest.mark.parametrize("value", [None, "NaN", "Infinity", "0", "-1"])
def test_what_is_no_price_is_never_chosen(value):
    manager = price(POSITION_MANAGER)

    assert chosen(price(PRICE_SEEN, value), manager) == manager
    assert chosen(price(PRICE_SEEN, value)) is None


def test_a_price_below_one_is_a_price():
    assert chosen(price(PRICE_SEEN, "0.00001234")) == price(PRICE_SEEN, "0.00001234")


def test_sources_disagree_beyond_half_a_percent_not_at_it():
    seen, near, far = price(PRICE_SEEN), price(FEATURES_LATEST, "100.5"), price(FEATURES_LATEST, "100.51")

    assert choose([seen, near], NOW, MAX_AGE) == Choice(price=seen)
    assert choose([seen, far], NOW, MAX_AGE) == Choice(
        price=seen, disagrees=far, difference_pct=Decimal("0.51")
    )


def test_the_source_furthest_away_is_named_on_either_side():
    seen, above, below = price(PRICE_SEEN), price(FEATURES_LATEST, "101"), price(POSITION_MANAGER, "97")

    assert choose([seen, above, below], NOW, MAX_AGE) == Choice(
        price=seen, disagrees=below, difference_pct=Decimal(3)
    )


def test_a_difference_is_in_percent_of_the_first_and_none_without_a_value():
    assert difference_pct(price("one", "200"), price("other", "201")) == Decimal("0.5")
    assert difference_pct(price("one", "201"), price("other", "200")) != Decimal("0.5")
    assert difference_pct(price("one", "200"), price("other", None)) == 0
    assert difference_pct(price("one", None), price("other", "200")) == 0
    assert difference_pct(price("one", "0"), price("other", "200")) == 0
