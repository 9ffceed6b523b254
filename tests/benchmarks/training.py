"""Goal 7: what a whole training takes beside nothing but XGBoost, in time and in memory.

The shipped child process fits Parquet files of chance with a faint rule in them. The floor, a process of its
own under the same environment and niceness, boosts the same rows from an array in memory to the same round.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from tests.benchmarks.result import Result, at_most

from sandbox.servers import FLOTILLA
from trainer import child
from trainer.core.threshold import Costs
from trainer.fit import NICENESS
from trainer.job import SPLITS, Fitted, Job

ROUNDS = 5
COLUMNS = 60
THREADS = 2
ROWS = {"train": 500_000, "validation": 50_000, "test": 20_000}
LARGE_ROWS = {**ROWS, "train": 2_000_000}
ROW_GROUP = 65_536
START = datetime(2026, 11, 1, tzinfo=UTC)
STEP = timedelta(milliseconds=500)
HORIZON = 4
"""Rows whose future a label looks into: neighbours share it, as in a market."""
_EFFECTS = 2
"""Columns whose signs the label depends on: learned soon, so the stop comes early."""


def results() -> Iterator[Result]:
    """Time of the fit and of everything, and the largest resident size, per mode."""
    FLOTILLA.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FLOTILLA, prefix="bench-training-") as name:
        directory = Path(name)
        job = write(directory, ROWS)
        ours, floors = [], []
        for _ in range(ROUNDS):
            floors.append(bare(directory))
            ours.append(fitted(job, directory))
        yield Result(
            goal="7 training, the fit with its matrix",
            unit="s",
            rounds=[each.seconds["fit"] for each in ours],
            floors=floors,
            target=at_most(1.05, of="ratio"),
        )
        yield Result(
            goal="7 training, read to parity",
            unit="s",
            rounds=[sum(each.seconds.values()) for each in ours],
            floors=floors,
            target=at_most(1.25, of="ratio"),
        )
        yield peak("7 training, peak memory", ours, ROWS["train"], limit=2.0)
        job = msgspec.structs.replace(write(directory, LARGE_ROWS), in_memory_bytes=0)
        large = [fitted(job, directory)]
        yield peak("7 training from files, peak memory", large, LARGE_ROWS["train"], limit=0.7)


def peak(goal: str, found: list[Fitted], rows: int, *, limit: float) -> Result:
    """The largest resident size of the child, beside the features of train as float32."""
    return Result(
        goal=goal,
        unit="MB",
        rounds=[each.peak_memory_bytes / 1e6 for each in found],
        floors=[rows * COLUMNS * 4 / 1e6] * len(found),
        target=at_most(limit, of="ratio"),
    )


def fitted(job: Job, directory: Path) -> Fitted:
    """What the shipped child process made of the files."""
    result = asyncio.run(child.fit(job, directory, lambda _: None))
    if result.fitted is None:
        raise AssertionError(f"the rows were chosen to be fit to train on: {result.rejection}")
    return result.fitted


def bare(directory: Path) -> float:
    """Seconds of XGBoost alone."""
    said = subprocess.run(
        ["nice", "-n", str(NICENESS), sys.executable, "-m", "tests.benchmarks.bare_boosting", str(directory)],
        check=True,
        capture_output=True,
        text=True,
        env=child.environment(THREADS),
    )
    return float(said.stdout)


def write(directory: Path, rows: dict[str, int]) -> Job:
    """The three splits lie in `directory`, one after the other in time; how they are to be fitted."""
    random = np.random.default_rng(7)
    at = START
    for name in SPLITS:
        count = rows[name]
        features = random.standard_normal((count, COLUMNS), dtype=np.float32)
        future = np.convolve(random.standard_normal(count + HORIZON - 1), np.full(HORIZON, 0.5), "valid")
        driven = 0.5 * np.sign(features[:, :_EFFECTS]).sum(axis=1) + future
        frame = pl.DataFrame(
            {
                "timestamp": pl.datetime_range(
                    at, at + STEP * count, STEP, time_unit="us", closed="left", eager=True
                ),
                "symbol": pl.repeat("BTCUSDT", count, eager=True),
                **{f"signal_{number:02}": features[:, number] for number in range(COLUMNS)},
                "target": np.where(driven > 0, 1, -1),
            }
        )
        frame.write_parquet(directory / f"{name}.parquet", row_group_size=ROW_GROUP)
        at += STEP * count
    return Job(
        strategy_id="bench",
        symbol="BTCUSDT",
        dataset_id="9396a9a8-6dfe-42d1-9681-fe269f6a09eb",
        splits={name: f"{name}.parquet" for name in SPLITS},
        dataset_sha256={},
        feature_registry_version="bench-1",
        horizon_s=HORIZON * STEP.total_seconds(),
        label_threshold=0.001,
        test_end=at,
        min_train_rows=1000,
        excluded_features=(),
        costs=Costs(fee_rate=0.001, slippage_rate=0.0005),
        min_trade_share=0.02,
        seed=1,
        threads=THREADS,
        champion=None,
    )
