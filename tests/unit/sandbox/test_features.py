"""Candle features: exact, and blind to the future."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.core.features import FEATURE_NAMES, HISTORY_BARS, feature_row, feature_table
from sandbox.core.market import Candles, synthetic

MARKET = synthetic(7, "BTCUSDT", 300, 0.08)
TABLE = feature_table(MARKET)[1]


def joined(past: Candles, future: Candles) -> Candles:
    return Candles(
        **{
            name: np.concatenate([getattr(past, name), getattr(future, name)])
            for name in Candles.__struct_fields__
        }
    )


def flat(bars: int, **changes: float) -> Candles:
    values = {"open": 100.0, "high": 100.0, "low": 100.0, "close": 100.0, "volume": 0.0, "spread_rel": 0.001}
    return Candles(**{name: np.full(bars, value) for name, value in (values | changes).items()})


def column(table: np.ndarray, name: str) -> np.ndarray:
    return table[:, FEATURE_NAMES.index(name)]


@given(row=st.integers(0, 298), seed=st.integers(0, 1000))
def test_another_future_changes_no_row_of_the_past(row, seed):
    other = joined(MARKET.part(0, row + 1), synthetic(seed, "ETHUSDT", 299 - row, 0.0))

    assert np.array_equal(feature_table(other)[1][: row + 1], TABLE[: row + 1], equal_nan=True)


@given(row=st.integers(HISTORY_BARS - 1, 299), seed=st.integers(0, 1000))
def test_a_past_beyond_the_history_changes_nothing(row, seed):
    kept = MARKET.part(row - HISTORY_BARS + 1, row + 1)

    after_other_past = feature_table(joined(synthetic(seed, "ETHUSDT", 30, 0.0), kept))[1][-1]

    assert np.array_equal(after_other_past, TABLE[row])


def test_the_history_is_as_long_as_said_and_not_longer():
    assert np.isnan(TABLE[HISTORY_BARS - 2]).any()
    assert np.isfinite(TABLE[HISTORY_BARS - 1 :]).all()


@given(bars=st.integers(1, 120))
def test_a_live_vector_is_the_row_of_the_table_without_what_is_missing(bars):
    row = dict(zip(FEATURE_NAMES, TABLE[bars - 1].tolist(), strict=True))

    assert feature_row(MARKET.part(0, bars)) == {
        name: value for name, value in row.items() if not np.isnan(value)
    }


def test_the_first_bar_has_only_what_one_bar_can_say():
    assert set(feature_row(MARKET.part(0, 1))) == {
        "mid_price",
        "spread_rel",
        "volume_1",
        "close_location",
        "body_ratio",
        "range_rel",
        "upper_wick_ratio",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mid_price", lambda c, i: c.close[i]),
        ("spread_rel", lambda c, i: c.spread_rel[i]),
        ("returns_1", lambda c, i: c.close[i] / c.close[i - 1] - 1),
        ("returns_3", lambda c, i: c.close[i] / c.close[i - 3] - 1),
        ("returns_12", lambda c, i: c.close[i] / c.close[i - 12] - 1),
        ("volatility_12", lambda c, i: np.std(c.close[i - 11 : i + 1] / c.close[i - 12 : i] - 1)),
        ("volatility_48", lambda c, i: np.std(c.close[i - 47 : i + 1] / c.close[i - 48 : i] - 1)),
        ("volume_1", lambda c, i: c.volume[i]),
        ("volume_ratio_12", lambda c, i: c.volume[i] / c.volume[i - 12 : i].mean()),
        ("volume_ratio_48", lambda c, i: c.volume[i] / c.volume[i - 48 : i].mean()),
        ("close_location", lambda c, i: (c.close[i] - c.low[i]) / (c.high[i] - c.low[i])),
        ("body_ratio", lambda c, i: (c.close[i] - c.open[i]) / (c.high[i] - c.low[i])),
        ("range_rel", lambda c, i: (c.high[i] - c.low[i]) / c.close[i]),
        (
            "upper_wick_ratio",
            lambda c, i: (c.high[i] - max(c.open[i], c.close[i])) / (c.high[i] - c.low[i]),
        ),
        ("mean_distance_48", lambda c, i: c.close[i] / c.close[i - 47 : i + 1].mean() - 1),
    ],
)
def test_each_feature_is_what_its_name_says(name, expected):
    for row in (60, 151, 299):
        assert column(TABLE, name)[row] == pytest.approx(expected(MARKET, row), rel=1e-12)


def test_rsi_is_the_share_of_gains_in_all_movement():
    change = np.diff(MARKET.close)[85:99] / MARKET.close[85:99]
    gains, losses = change[change > 0].sum(), -change[change < 0].sum()

    assert column(TABLE, "rsi_14")[99] == pytest.approx(100 * gains / (gains + losses))


def test_bars_without_range_volume_or_movement_are_neutral():
    row = feature_row(flat(60))

    assert len(row) == len(FEATURE_NAMES)
    assert {name: row[name] for name in ("close_location", "body_ratio", "upper_wick_ratio", "rsi_14")} == {
        "close_location": 0.5,
        "body_ratio": 0.0,
        "upper_wick_ratio": 0.0,
        "rsi_14": 50.0,
    }
    assert row["volume_ratio_12"] == row["volume_ratio_48"] == 1.0


def test_no_candles_make_an_empty_table():
    assert feature_table(MARKET.part(0, 0))[1].shape == (0, len(FEATURE_NAMES))
