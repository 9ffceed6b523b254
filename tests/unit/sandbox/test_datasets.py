"""Which bars a dataset's splits hold, and what their targets are."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.core.datasets import (
    SPLITS,
    BarClock,
    Period,
    Target,
    close_times_us,
    labelled,
    split_bars,
    targets,
)
from sandbox.core.features import feature_row, feature_table, present
from sandbox.core.market import Candles, synthetic

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def clock(closed: int = 1_000, bar_s: float = 0.5) -> BarClock:
    """Bar 0 closes at noon."""
    return BarClock(first_close=NOON, bar=timedelta(seconds=bar_s), closed=closed)


def period(start_s: float, end_s: float) -> Period:
    return Period(start=NOON + timedelta(seconds=start_s), end=NOON + timedelta(seconds=end_s))


def candles(*close: float) -> Candles:
    prices = np.array(close)
    return Candles(open=prices, high=prices, low=prices, close=prices, volume=prices, spread_rel=prices)


@pytest.mark.parametrize(
    ("start_s", "end_s", "half_open", "closed"),
    [
        (0.0, 2.0, range(4), range(5)),
        (0.1, 2.1, range(1, 5), range(1, 5)),  # no bar closes at the end itself
        (2.0, 2.0, range(4, 4), range(4, 5)),
        (-5.0, 1.0, range(2), range(3)),
        (-5.0, -1.0, range(0), range(0)),
        (498.0, 600.0, range(996, 1_000), range(996, 1_000)),  # beyond now: only bars that have closed
        (600.0, 700.0, range(1_000, 1_000), range(1_000, 1_000)),
    ],
)
def test_a_period_holds_the_bars_that_close_in_it(start_s, end_s, half_open, closed):
    assert clock().within(period(start_s, end_s), includes_end=False) == half_open
    assert clock().within(period(start_s, end_s), includes_end=True) == closed


@given(
    edges=st.lists(st.integers(-50, 1_100), min_size=4, max_size=4).map(sorted),
    closed=st.integers(0, 1_000),
)
def test_adjacent_splits_share_no_bar_leave_none_out_and_only_test_includes_its_end(edges, closed):
    periods = {
        split: period(start * 0.5, end * 0.5)
        for split, start, end in zip(SPLITS, edges[:-1], edges[1:], strict=True)
    }

    splits = split_bars(clock(closed), periods)

    found = [bar for split in SPLITS for bar in splits[split]]
    assert found == [bar for bar in range(max(edges[0], 0), edges[3] + 1) if bar < closed]


@pytest.mark.parametrize(
    ("bars", "horizon_bars", "kept"),
    [
        (range(990), 4, range(990)),
        (range(1_000), 4, range(996)),
        (range(997, 1_000), 4, range(997, 997)),
        (range(10), 2_000, range(0)),
    ],
)
def test_a_bar_without_a_known_price_after_the_horizon_is_left_out(bars, horizon_bars, kept):
    assert labelled(bars, clock(), horizon_bars) == kept


def test_without_an_embargo_labels_at_the_end_of_train_look_into_validation():
    series = candles(*[100.0] * 8, 110.0, 110.0, 110.0, 110.0)

    train = targets(
        series, np.empty((12, 0)), range(8), 4, Target(type="classification", horizon=2, threshold=0.01)
    )

    assert train.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]  # bar 8, the first of validation, decides the last four


@pytest.mark.parametrize(
    ("target", "expected", "dtype"),
    [
        (Target(type="classification", horizon=1, threshold=0.007), [1, -1, 0], np.int64),
        (Target(type="classification", horizon=1), [1, -1, 1], np.int64),
        (Target(type="classification", horizon=1, threshold=0.01), [0, 0, 0], np.int64),  # not above: 0
        (Target(type="regression", horizon=1), [0.01, -1 / 101, 0.005], np.float64),
    ],
)
def test_targets_compare_the_price_after_the_horizon_with_the_bars_own(target, expected, dtype):
    found = targets(candles(100.0, 101.0, 100.0, 100.5), np.empty((4, 0)), range(3), 1, target)

    assert found.tolist() == pytest.approx(expected)
    assert found.dtype == dtype


def test_a_risk_adjusted_target_is_the_return_in_units_of_volatility():
    series = synthetic(1, "BTCUSDT", 200, 0.08)
    names, table = feature_table(series)

    found = targets(series, table, range(196), 4, Target(type="risk_adjusted", horizon=2))

    plain = targets(series, table, range(196), 4, Target(type="regression", horizon=2))
    assert np.isnan(found[:48]).all()
    assert found[48:] == pytest.approx(plain[48:] / table[48:196, names.index("volatility_48")])


@given(row=st.integers(0, 150), later=st.integers(5, 40))
def test_features_know_nothing_and_targets_only_the_horizon_of_what_comes_after_the_row(row, later):
    known = synthetic(3, "BTCUSDT", row + 5, 0.08)
    whole = synthetic(3, "BTCUSDT", row + later, 0.08)
    target = Target(type="classification", horizon=2, threshold=0.0005)

    table = feature_table(whole)[1]

    assert present(table[row]) == feature_row(whole.part(0, row + 1))
    bars = range(row, row + 1)
    assert targets(known, table, bars, 4, target) == targets(whole, table, bars, 4, target)


@pytest.mark.parametrize(
    ("bar_s", "horizon_s", "bars"),
    [(0.5, 2, 4), (0.5, 1, 2), (300.0, 3600, 12), (0.7, 2, 3), (60.0, 1, 1)],
)
def test_a_horizon_is_a_whole_number_of_bars(bar_s, horizon_s, bars):
    assert clock(bar_s=bar_s).bars_in(horizon_s) == bars


def test_a_row_is_stamped_with_the_close_of_its_bar():
    noon_us = int(NOON.timestamp()) * 1_000_000

    assert close_times_us(clock(), range(2, 4)).tolist() == [noon_us + 1_000_000, noon_us + 1_500_000]
