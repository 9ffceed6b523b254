from datetime import UTC, datetime, timedelta

from inference.core.stream import observe

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
