from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.inference.cases import LIMITS

from common.messages import FeatureVector
from inference.core.case import Screening
from inference.core.stream import observe
from inference.core.vector_gates import age, future, monotone

T0 = datetime(2026, 3, 1, tzinfo=UTC)
LIVE = {
    "mid_price": 100.0,
    "volume_3s": 1.0,
    "time_of_day_sin": 0.1,
    "time_of_day_cos": 0.2,
    "time_to_funding": 9.0,
}


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_a_first_vector_proves_nothing_about_the_market():
    assert observe(None, T0, LIVE).changed_at is None


def test_a_change_is_dated_by_the_vector_that_brought_it():
    stream = observe(observe(None, T0, LIVE), at(1), {**LIVE, "mid_price": 101.0})

    assert stream.changed_at == at(1)


def test_the_clocks_own_features_are_no_change():
    ticking = {**LIVE, "time_of_day_sin": 0.3, "time_of_day_cos": 0.4, "time_to_funding": 8.0}

    stream = observe(observe(None, T0, LIVE), at(1), ticking)

    assert stream.changed_at is None
    assert stream.newest == at(1)


def test_an_older_or_repeated_vector_changes_nothing():
    stream = observe(observe(None, T0, LIVE), at(2), {**LIVE, "mid_price": 101.0})

    assert observe(stream, at(1), {**LIVE, "mid_price": 99.0}) == stream
    assert observe(stream, at(2), {**LIVE, "mid_price": 99.0}) == stream


def test_a_feature_that_appears_is_a_change():
    stream = observe(observe(None, T0, {}), at(1), {"mid_price": 100.0})

    assert stream.changed_at == at(1)


def test_a_market_that_stops_after_it_moved_is_told_from_its_last_move():
    stream = None
    for second, price in enumerate([100.0, 101.0, 101.0, 101.0]):
        stream = observe(stream, at(second), {**LIVE, "mid_price": price, "time_of_day_sin": second / 10})

    assert stream.changed_at == at(1)
    assert stream.newest == at(3)


def test_a_vector_from_the_future_does_not_silence_those_that_follow():
    stream = observe(None, at(0), {**LIVE, "mid_price": 99.0}, believed_until=at(2))

    stream = observe(stream, at(3600), LIVE, believed_until=at(3))
    assert stream.newest == at(0)

    stream = observe(stream, at(2), LIVE, believed_until=at(4))
    assert (stream.newest, stream.changed_at) == (at(2), at(2))


def test_a_stream_that_begins_in_the_future_goes_on_with_its_first_believable_vector():
    stream = observe(None, at(3600), LIVE, believed_until=at(2))

    assert observe(stream, at(1), LIVE, believed_until=at(3)).newest == at(1)


def test_a_vector_as_far_ahead_as_clocks_may_be_is_believed():
    begun = observe(None, at(2), LIVE, believed_until=at(2))
    assert begun.newest == at(2)

    assert observe(begun, at(4), LIVE, believed_until=at(4)).newest == at(4)


@given(st.lists(st.integers(min_value=-5, max_value=40), min_size=1, max_size=30))
def test_no_order_of_arrival_lets_an_older_vector_through(stamps):
    now = at(20)
    stream, passed = None, []
    for second in stamps:
        came = FeatureVector(
            timestamp=at(second),
            symbol="BTCUSDT",
            features={**LIVE, "mid_price": 100.0 + second},
            feature_registry_version="1.0.0",
        )
        stream = observe(stream, came.timestamp, came.features, believed_until=now + timedelta(seconds=2))
        screening = Screening(vector=came, stream=stream, now=now, limits=LIMITS)
        if not any(gate(screening).denied for gate in (age, future, monotone)):
            passed.append(second)

    assert passed == sorted(passed)
    assert all(second <= 22 for second in passed)
    believable = [second for second in stamps if second <= 22]
    assert max(passed, default=None) == max(believable, default=None)
