"""The synthetic market and its clock."""

import asyncio
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.core.features import feature_row, feature_table, present
from sandbox.core.market import (
    MAX_EDGE,
    Candles,
    edge_report,
    label,
    latent_direction,
    measured_lift,
    synthetic,
)
from sandbox.market import BARS_AHEAD, Market, Series, synthetic_series

START = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)


def same(left: Candles, right: Candles) -> bool:
    return all(
        np.array_equal(getattr(left, name), getattr(right, name)) for name in Candles.__struct_fields__
    )


@given(seed=st.integers(0, 2**63), bars=st.integers(0, 400), kept=st.integers(0, 400))
def test_a_shorter_series_is_the_beginning_of_a_longer_one(seed, bars, kept):
    bars, kept = max(bars, kept), min(bars, kept)

    assert same(synthetic(seed, "BTCUSDT", bars, 0.08).part(0, kept), synthetic(seed, "BTCUSDT", kept, 0.08))


def test_seed_and_symbol_make_different_markets():
    returns = [
        np.diff(np.log(synthetic(seed, symbol, 5_000, 0.08).close))
        for seed, symbol in ((1, "BTCUSDT"), (2, "BTCUSDT"), (1, "ETHUSDT"))
    ]

    assert np.abs(np.corrcoef(returns) - np.eye(3)).max() < 0.06


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "XRPUSDT"])
def test_bars_look_like_bars(symbol):
    candles = synthetic(3, symbol, 20_000, 0.08)

    assert np.all(candles.low > 0)
    assert np.all(candles.high >= np.maximum(candles.open, candles.close))
    assert np.all(candles.low <= np.minimum(candles.open, candles.close))
    assert np.array_equal(candles.open[1:], candles.close[:-1])
    assert np.all(candles.volume > 0)
    assert candles.spread_rel.min() >= 0.0002
    assert candles.spread_rel.max() <= 0.003
    assert 0.3 < np.mean(candles.spread_rel > 0.001) < 0.6
    assert np.std(np.diff(np.log(candles.close))) == pytest.approx(0.001, rel=0.05)


def test_price_levels_are_those_of_the_symbol():
    assert synthetic(0, "BTCUSDT", 1, 0.0).open[0] == 60_000
    assert synthetic(0, "ETHUSDT", 1, 0.0).open[0] == 3_000
    assert 1 <= synthetic(0, "XRPUSDT", 1, 0.0).open[0] <= 1_000


def test_large_moves_follow_large_moves_a_little():
    size = np.abs(np.diff(np.log(synthetic(5, "BTCUSDT", 100_000, 0.0).close)))

    assert 0.005 < np.corrcoef(size[1:], size[:-1])[0, 1] < 0.1


@pytest.mark.parametrize("horizon_bars", [4, 12])
@pytest.mark.parametrize("edge", [0.0, 0.03, 0.08, 0.15])
def test_the_planted_edge_is_the_measured_one(edge, horizon_bars):
    measured = [measured_lift(seed, "BTCUSDT", 200_000, edge, horizon_bars=horizon_bars) for seed in range(3)]

    assert np.mean([each.lift for each in measured]) == pytest.approx(edge, abs=0.01)
    assert np.mean([each.class_rates for each in measured], axis=0) == pytest.approx([1 / 3] * 3, abs=0.015)


def test_the_report_states_the_edge_it_was_asked_for():
    report = edge_report(0.08, 4)

    assert report.lift == pytest.approx(0.08, abs=1e-9)
    assert report.accuracy == pytest.approx(report.majority_rate + 0.08, abs=1e-9)
    assert edge_report(0.0, 4).drift_per_bar == 0.0
    assert edge_report(0.04, 4).drift_per_bar < report.drift_per_bar


@pytest.mark.parametrize(
    ("edge", "horizon_bars"), [(-0.01, 4), (MAX_EDGE + 0.01, 4), (float("nan"), 4), (0.1, 0)]
)
def test_an_edge_that_cannot_be_planted_is_refused(edge, horizon_bars):
    with pytest.raises(ValueError, match=r"edge|horizon"):
        edge_report(edge, horizon_bars)


@pytest.mark.parametrize("seed", range(3))
def test_no_single_feature_gives_the_target_away(seed):
    candles = synthetic(seed, "BTCUSDT", 50_000, 0.08)
    target = label(candles, 4, edge_report(0.08, 4).threshold)[60:]
    _, table = feature_table(candles)

    correlations = [np.corrcoef(column[60 : 60 + len(target)], target)[0, 1] for column in table.T]

    assert np.max(np.abs(correlations)) < 0.2


def test_the_interaction_of_volume_and_the_sign_of_the_bar_shows_the_direction():
    candles = synthetic(1, "BTCUSDT", 50_000, 0.08)
    names, table = feature_table(candles)
    busy = np.sign(table[60:, names.index("volume_ratio_12")] - 1)
    rising = np.sign(table[60:, names.index("returns_1")])

    assert np.mean(busy * rising == latent_direction(1, "BTCUSDT", 50_000)[60:]) > 0.85


def test_labels_compare_the_later_price_with_the_threshold():
    prices = np.array([100.0, 101.0, 100.0, 100.5, 99.0])
    candles = Candles(
        open=prices, high=prices, low=prices, close=prices, volume=prices, spread_rel=prices / 1e5
    )

    assert label(candles, 1, 0.007).tolist() == [1, -1, 0, -1]
    assert label(candles, 3, 0.007).tolist() == [0, -1]
    assert label(candles, 5, 0.007).tolist() == []


def market() -> Market:
    series = synthetic_series("BTCUSDT", seed=1, edge=0.08, bars=100)
    return Market({"BTCUSDT": series}, started_at=START, bar_seconds=0.5, history_bars=80)


def replay(bars: int, history_bars: int) -> Market:
    series = {"BTCUSDT": Series(synthetic(1, "BTCUSDT", bars, 0.0))}
    return Market(series, started_at=START, bar_seconds=0.5, history_bars=history_bars)


@pytest.mark.parametrize(
    ("after_s", "index"),
    [(0.0, 79), (0.499999, 79), (0.5, 80), (10.0, 99), (-0.000001, 78), (-39.5, 0), (-39.6, -1)],
)
def test_a_bar_closes_every_bar_seconds_before_and_after_the_start(after_s, index):
    assert market().bar_index(START + timedelta(seconds=after_s)) == index


def test_a_bar_is_the_last_closed_one_from_the_instant_it_closes():
    for index in (0, 79, 80, 500):
        assert market().bar_index(market().closed_at(index)) == index


def test_price_vector_and_spread_speak_of_the_same_bar():
    candles = synthetic(1, "BTCUSDT", 200, 0.08)
    now = market().closed_at(150)

    vector = market().vector("BTCUSDT", now)

    assert vector == feature_row(candles.part(0, 151))
    assert vector["mid_price"] == market().price("BTCUSDT", now) == candles.close[150]
    assert vector["spread_rel"] == market().spread_rel("BTCUSDT", now) == candles.spread_rel[150]


def test_live_goes_on_after_the_bars_made_at_once():
    grown = market()

    for index in (99, 100, 101, 149, 150, 400):
        vector = grown.vector("BTCUSDT", grown.closed_at(index))
        assert vector == feature_row(synthetic(1, "BTCUSDT", index + 1, 0.08))


async def test_bars_are_made_ahead_of_time_and_off_the_event_loop():
    threads: list[int] = []

    def longer(bars: int) -> Candles:
        threads.append(threading.get_ident())
        return synthetic(1, "BTCUSDT", bars, 0.08)

    series = Series(synthetic(1, "BTCUSDT", 100, 0.08), longer)
    grown = Market({"BTCUSDT": series}, started_at=START, bar_seconds=0.5, history_bars=80)
    now = grown.closed_at(90)

    keeping = asyncio.create_task(grown.keep_ahead(lambda: now, every_s=0.01))
    async with asyncio.timeout(5):
        while series.lacks(90 + BARS_AHEAD):
            await asyncio.sleep(0.01)
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping

    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert grown.vector("BTCUSDT", now) == feature_row(synthetic(1, "BTCUSDT", 91, 0.08))


def test_closed_bars_are_those_of_now_with_the_features_of_live_vectors():
    grown = market()
    now = grown.closed_at(120)

    candles, table = grown.closed_bars("BTCUSDT", now)

    assert same(candles, synthetic(1, "BTCUSDT", 121, 0.08))
    assert present(table[-1]) == grown.vector("BTCUSDT", now)
    assert grown.clock(now).closed == 121
    assert grown.clock(now).first_close == grown.closed_at(0)
    assert grown.closed_bars("NOPEUSDT", now) is None


@pytest.mark.parametrize(("symbol", "after_s"), [("NOPEUSDT", 0.0), ("btcusdt", 0.0), ("BTCUSDT", -40.0)])
def test_without_market_data_there_is_no_price_and_no_feature(symbol, after_s):
    now = START + timedelta(seconds=after_s)

    assert market().price(symbol, now) is None
    assert market().spread_rel(symbol, now) is None
    assert market().vector(symbol, now) == {}


def test_a_market_of_files_stands_still_at_its_end():
    replayed = replay(bars=90, history_bars=80)
    last = replayed.closed_at(89)

    assert not replayed.exhausted(last)
    assert replayed.exhausted(replayed.closed_at(90))
    assert replayed.vector("BTCUSDT", last) == replayed.vector("BTCUSDT", last + timedelta(hours=1))


def test_a_synthetic_market_never_ends():
    assert not market().exhausted(START + timedelta(days=365))


def test_a_file_that_is_all_history_is_refused():
    with pytest.raises(ValueError, match="80 bars leave nothing to trade"):
        replay(bars=80, history_bars=80)
