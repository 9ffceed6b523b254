import itertools
import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.reasons import Reason, Skip
from inference.core.warmup import (
    CONFIDENCE,
    MAX_SLOTS,
    Proposal,
    WarmUp,
    propose,
    slot_of,
    slots_between,
)

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


class Fixed:
    """Draws that are known beforehand."""

    def __init__(self, *draws):
        self._draws = iter(draws)

    def random(self):
        return next(self._draws)


def test_a_proposal_shows_its_score_and_what_made_it():
    features = {"returns_1s": 0.001, "returns_1m": 0.002, "returns_1h": -0.001, "volatility_1m": 0.001}

    found = propose(features, msgspec.structs.replace(WARM_UP, randomness=0.25), Fixed(0.125, 0.5))

    momentum, reversion = math.tanh(0.5), -math.tanh(1)
    heuristic = (2 * momentum + reversion) / 3
    score = 0.75 * heuristic + 0.25 * -0.75
    assert found == Proposal(
        side="sell",
        requested_quote=Decimal(550),
        confidence=CONFIDENCE,
        facts={"heuristic": round(heuristic, 6), "chance": -0.75, "score": round(score, 6)},
        reasoning=f"warm-up sell: score {score:+.3f} from recent returns",
    )


@pytest.mark.parametrize("longer", ["returns_2s", "returns_1m", "returns_2", "returns_x"])
def test_the_shortest_window_is_known_by_its_length(longer):
    assert proposed({"returns_1s": 0.01, longer: 0.0}).side == "sell"


@pytest.mark.parametrize(("shorter", "other"), [("59m", "3550s"), ("3590s", "1h"), ("1h", "3610s")])
def test_windows_of_different_units_are_compared_in_seconds(shorter, other):
    assert proposed({f"returns_{shorter}": 0.01, f"returns_{other}": 0.0}).side == "sell"


def test_full_randomness_ignores_the_features():
    rising = [proposed(RISING, randomness=1.0, seed=seed).side for seed in range(50)]
    falling = [proposed({"returns_1s": 0.9}, randomness=1.0, seed=seed).side for seed in range(50)]

    assert rising == falling
    assert set(rising) == {"buy", "sell"}


def test_without_returns_there_is_no_direction():
    outcome = propose({"mid_price": 1.0}, WARM_UP, random.Random(1))

    assert outcome == Skip(Reason.NO_DIRECTION, {"features": 1, "returns": 0})


@pytest.mark.parametrize(
    "returns",
    [
        {"returns_1s": 0.0},
        {"returns_1s": 0.0, "returns_1m": 0.0},
        {"returns_1s": math.nan},
        {"returns_1s": 0.001, "returns_1m": math.nan},
    ],
)
def test_returns_that_point_nowhere_or_are_no_numbers_give_no_side(returns):
    outcome = propose(returns, WARM_UP, random.Random(1))

    assert outcome == Skip(Reason.NO_DIRECTION, {"features": len(returns), "returns": len(returns)})


def test_a_minimum_of_fractions_of_a_cent_is_not_undercut():
    exact = msgspec.structs.replace(
        WARM_UP, min_amount_quote=Decimal("10.009"), max_amount_quote=Decimal("10.009")
    )

    outcome = propose(RISING, exact, random.Random(1))

    assert isinstance(outcome, Proposal)
    assert outcome.requested_quote == Decimal("10.009")


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


MOMENTS = st.datetimes(min_value=datetime(2025, 1, 1), max_value=datetime(2027, 1, 1)).map(
    lambda d: d.replace(tzinfo=UTC)
)


@given(MOMENTS, st.lists(st.floats(min_value=0, max_value=40), min_size=1, max_size=8))
def test_rounds_at_any_times_judge_every_slot_once_after_it_ended(begin, pauses):
    per_minute, length = 20.0, timedelta(seconds=3)
    judged, until = [], begin
    for pause in pauses:
        before, until = until, until + timedelta(seconds=pause)
        judged += slots_between(before - length, until, per_minute)

    assert judged == list(slots_between(begin - length, until, per_minute))
    assert all(later - earlier == length for earlier, later in itertools.pairwise(judged))
    assert all(begin - length < slot + timedelta(milliseconds=1) for slot in judged)
    assert all(slot + length <= until + timedelta(milliseconds=1) for slot in judged)


def test_no_more_slots_are_looked_back_at_than_allowed():
    until = datetime(2026, 3, 1, tzinfo=UTC)

    judged = slots_between(until - timedelta(days=30), until, 60.0)

    assert len(judged) == MAX_SLOTS
    assert judged[-1] == until - timedelta(seconds=1)
