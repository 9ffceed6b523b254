"""Parquet files as the Feature Service delivers them, from a synthetic market."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from sandbox.core.features import feature_table
from sandbox.core.market import edge_report, label, synthetic
from trainer import fit
from trainer.core.threshold import Costs
from trainer.job import Job

SYMBOL = "BTCUSDT"
BAR = timedelta(milliseconds=500)
HORIZON_BARS = 4
START = datetime(2024, 11, 1, tzinfo=UTC)
NO_FEATURES = {"timestamp", "symbol", "target", "mid_price"}
_HISTORY = 50


def frames(rows, *, edge, seed=7):
    """One frame per split of `rows` = (train, validation, test), the test closed on both ends."""
    bars = sum(rows) + 1
    candles = synthetic(seed, SYMBOL, bars + _HISTORY + HORIZON_BARS, edge)
    names, table = feature_table(candles)
    used = slice(_HISTORY, _HISTORY + bars)
    target = label(candles, HORIZON_BARS, edge_report(edge).threshold)[used]
    whole = pl.DataFrame(
        {
            "timestamp": [START + BAR * index for index in range(bars)],
            "symbol": [SYMBOL] * bars,
            **{name: table[used, column] for column, name in enumerate(names)},
            "target": target,
        }
    )
    train, validation, test = rows
    return {
        "train": whole[:train],
        "validation": whole[train : train + validation],
        "test": whole[train + validation : train + validation + test + 1],
    }


def test_end(rows):
    """The end of the test's period: the instant of its last, surplus row."""
    return START + BAR * sum(rows)


def write(splits, directory: Path):
    for name, frame in splits.items():
        frame.write_parquet(directory / f"{name}.parquet")


def job(rows, *, edge, champion=None, **changes):
    values = {
        "strategy_id": "momentum",
        "symbol": SYMBOL,
        "dataset_id": "9396a9a8-6dfe-42d1-9681-fe269f6a09eb",
        "splits": {name: f"{name}.parquet" for name in ("train", "validation", "test")},
        "dataset_sha256": {},
        "feature_registry_version": "candles-1",
        "horizon_s": BAR.total_seconds() * HORIZON_BARS,
        "label_threshold": edge_report(edge).threshold,
        "test_end": test_end(rows),
        "min_train_rows": 1000,
        "excluded_features": ("mid_price",),
        "costs": Costs(fee_rate=0.001, slippage_rate=0.0005),
        "min_trade_share": 0.02,
        "seed": 1,
        "threads": 1,
        "champion": champion,
    }
    return Job(**{**values, **changes})


def fitted(directory, rows, *, edge, **changes):
    """What a fit of such a market in a new `directory` found."""
    directory.mkdir()
    write(frames(rows, edge=edge), directory)
    result = fit.run(job(rows, edge=edge, **changes), directory)
    assert result.rejection is None
    return result.fitted
