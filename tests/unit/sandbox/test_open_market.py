"""The market that the settings describe."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from sandbox.market import BARS_AHEAD
from sandbox.platform import open_market
from sandbox.settings import MarketSettings


@pytest.mark.parametrize("live_bars", [0, 20_000])
def test_a_restarted_market_has_its_bars_before_anybody_asks(live_bars):
    began = datetime.now(UTC) - live_bars * timedelta(seconds=0.5)
    settings = MarketSettings(sandbox_history_bars=1_000, sandbox_started_at=began, symbols=("BTCUSDT",))

    market = open_market(settings)

    now = datetime.now(UTC)
    bars, _ = market.closed_bars("BTCUSDT", now)
    assert 1_000 + live_bars <= len(bars) <= 1_000 + live_bars + 100
    assert not market._series["BTCUSDT"].lacks(market.bar_index(now) + BARS_AHEAD)


def test_a_candle_file_keeps_a_fifth_of_itself_to_trade(tmp_path):
    prices = np.linspace(100.0, 110.0, 1_000)
    names = ("open", "high", "low", "close", "volume")
    columns = {"date": np.arange(1_000), **dict.fromkeys(names, prices)}
    pl.DataFrame(columns).write_parquet(tmp_path / "bars.parquet")

    market = open_market(MarketSettings(candles=(str(tmp_path / "bars.parquet"),)))

    assert market.history_bars == 800
