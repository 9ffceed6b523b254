from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.messages import FeatureVector
from inference.core.pace import LONGEST_S, Pace
from inference.live_vectors import LiveVectors, LiveVectorsLimits

LIMITS = LiveVectorsLimits(ttl_s=30, silence_s=5, max_age_s=60)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def live(clock):
    return LiveVectors(LIMITS, clock=clock, max_symbols=3)


def vector(symbol="BTCUSDT", age_s=0.0, price=100.0):
    return FeatureVector(
        timestamp=datetime.now(UTC) - timedelta(seconds=age_s),
        symbol=symbol,
        features={"mid_price": price},
        feature_registry_version="1.0.0",
    )


def test_the_newest_vector_is_the_latest_in_whatever_order_they_come(live):
    newest = vector(age_s=1)
    for each in (vector(age_s=3), newest, vector(age_s=2)):
        live.note(each)

    assert live.latest("BTCUSDT") == newest


def test_a_latest_vector_is_forgotten_after_its_ttl_whatever_else_is_heard(live, clock):
    live.note(vector())
    clock.now += 30
    assert live.latest("BTCUSDT") is not None

    clock.now += 0.1
    live.note_heard(["BTCUSDT"])
    live.note(vector(age_s=5))

    assert live.latest("BTCUSDT") is None


@pytest.mark.parametrize("age_s", [61, -3])
def test_what_screening_would_refuse_for_its_time_is_nobodys_latest_and_no_sign_of_life(live, clock, age_s):
    clock.now += 6
    live.note(vector(age_s=age_s))

    assert live.latest("BTCUSDT") is None
    assert live.silent(["BTCUSDT"]) == ("BTCUSDT",)
    assert live.quiet_s(["BTCUSDT"]) == 0


def test_a_stream_is_silent_once_nobody_heard_it_for_long_enough(live, clock):
    live.note(vector("BTCUSDT"))
    clock.now += 4
    live.note_heard(["ETHUSDT"])
    clock.now += 1.1

    assert live.silent(["BTCUSDT", "ETHUSDT", "NEVERUSDT"]) == ("BTCUSDT", "NEVERUSDT")


def test_a_stream_that_was_never_heard_has_its_time_after_the_start(live, clock):
    clock.now += 5
    assert live.silent(["BTCUSDT"]) == ()

    clock.now += 0.1
    assert live.silent(["BTCUSDT"]) == ("BTCUSDT",)


def test_a_polled_vector_is_a_latest_one_but_no_sign_of_the_stream(live, clock):
    clock.now += 6
    live.note(vector(), polled=True)

    assert live.latest("BTCUSDT") is not None
    assert live.silent(["BTCUSDT"]) == ("BTCUSDT",)
    assert live.quiet_s(["BTCUSDT"]) == 0


def test_quiet_is_since_any_of_the_symbols_came_to_anybody(live, clock):
    live.note(vector("BTCUSDT"))
    clock.now += 2
    live.note_heard(["ETHUSDT"])
    clock.now += 1

    assert live.quiet_s(["BTCUSDT", "ETHUSDT"]) == 1
    assert live.quiet_s(["BTCUSDT"]) == 3
    assert live.quiet_s(["NEVERUSDT"]) == 3
    assert live.quiet_s([]) == 3


@given(st.lists(st.sampled_from("ABCDEFGH"), max_size=40))
def test_no_more_symbols_are_remembered_than_allowed_and_the_newest_are(letters):
    live = LiveVectors(LIMITS, max_symbols=3)
    for letter in letters:
        live.note(vector(f"{letter}USDT"))

    assert set(live.symbols()) == {f"{each}USDT" for each in list(dict.fromkeys(reversed(letters)))[:3]}


@given(st.integers(min_value=1, max_value=200), st.floats(min_value=0.1, max_value=60))
def test_the_pause_doubles_with_every_failure_and_an_answer_ends_it(failures, interval_s):
    pace, pauses = Pace(), []
    for _ in range(failures):
        pace = pace.failed(1000.0, interval_s)
        pauses.append(pace.next_at - 1000.0)

    assert pauses[0] == pytest.approx(interval_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] <= max(LONGEST_S, interval_s) + 1e-9
    assert pace.answered(2000.0, interval_s) == Pace(next_at=2000.0 + interval_s)
