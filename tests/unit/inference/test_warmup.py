import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.reasons import Reason, Skip
from inference.core.warmup import CONFIDENCE, Proposal, WarmUp, propose, slot_of

WARM_UP = WarmUp(
    enabled=True,
    min_amount_quote=Decimal(100),
    max_amount_quote=Decimal(1000),
    randomness=0.0,
    signals_per_minute=1.0,
)
RISING = {"returns_1s": 0.0, "returns_1m": 0.004, "volatility_1m": 0.001}


def proposed(features, randomness=0.0, seed=1):
    outcome = propose(features, msgspec.structs.replace(WARM_UP, randomness=randomness), random.Random(seed))
    assert isinstance(outcome, Proposal)
    return outcome


@pytest.mark.parametrize(
    ("features", "side"),
    [
        (RISING, "buy"),
        ({**RISING, "returns_1m": -0.004}, "sell"),
        ({"returns_1s": 0.01}, "sell"),
        ({"returns_1s": -0.01}, "buy"),
        ({"returns_3s": 0.01, "returns_1m": 0.004, "volatility_1m": 0.001}, "buy"),
        ({"returns_1": -0.002, "returns_12": 0.0}, "buy"),
    ],
)
def test_longer_returns_carry_on_and_the_shortest_comes_back(features, side):
    assert proposed(features).side == side


def test_full_randomness_ignores_the_features():
    rising = [proposed(RISING, randomness=1.0, seed=seed).side for seed in range(50)]
    falling = [proposed({"returns_1s": 0.9}, randomness=1.0, seed=seed).side for seed in range(50)]

    assert rising == falling
    assert set(rising) == {"buy", "sell"}


def test_without_returns_there_is_no_direction():
    outcome = propose({"mid_price": 1.0}, WARM_UP, random.Random(1))

    assert outcome == Skip(Reason.NO_DIRECTION, {"features": 1})


@given(st.integers(min_value=0, max_value=2**128), st.floats(min_value=0, max_value=1))
def test_the_same_vector_is_decided_the_same_and_amounts_stay_in_range(seed, randomness):
    first, second = (proposed(RISING, randomness, seed) for _ in range(2))

    assert first == second
    assert WARM_UP.min_amount_quote <= first.requested_quote <= WARM_UP.max_amount_quote
    assert first.confidence == CONFIDENCE


@given(
    st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2040, 1, 1)).map(
        lambda d: d.replace(tzinfo=UTC)
    ),
    st.floats(min_value=0.1, max_value=600),
)
def test_a_slot_holds_its_moment_and_is_as_long_as_the_frequency_says(now, per_minute):
    slot = slot_of(now, per_minute)
    length = timedelta(seconds=60 / per_minute)

    assert slot <= now + timedelta(milliseconds=1)
    assert now - slot <= length + timedelta(milliseconds=1)
    assert slot_of(slot + timedelta(microseconds=10), per_minute) == slot
