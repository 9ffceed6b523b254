"""Dataset builds: one after the other, and while one runs the Feature Service hears and says nothing.

Splits come from the market's closed bars; the labels are the contract's, without an embargo. How long a
build takes is set, not measured: the work itself runs in a thread, the silence lasts as the real one's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl
import structlog

from sandbox.core.dataset_request import BuildRequest
from sandbox.core.datasets import BarClock, Split, close_times_us, labelled, split_bars, targets
from sandbox.core.features import FEATURE_NAMES
from sandbox.core.market import Candles, Floats
from sandbox.dataset_store import Dataset, DatasetStore, failed, requested
from sandbox.market import Market

log = structlog.get_logger(__name__)

Announce = Callable[[dict[str, Any]], Awaitable[None]]
"""Sends features.dataset.ready; whether anybody gets it is not its concern."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How long builds take."""

    seconds_per_row: float = 0.00005
    shortest_s: float = 1.0
    begins_after_s: float = 0.1
    """From the answer 202 to the silence."""

    def build_s(self, rows: int) -> float:
        """Silence of a build with `rows` rows, in seconds."""
        return max(rows * self.seconds_per_row, self.shortest_s)


class DatasetBuilds:
    """The builds of one Feature Service: `await run()` until cancelled; `hearing` is clear during a build."""

    def __init__(
        self,
        market: Market,
        store: DatasetStore,
        announce: Announce,
        *,
        pace: Pace | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = store
        self.hearing = asyncio.Event()
        self.hearing.set()
        self._market = market
        self._announce = announce
        self._pace = pace or Pace()
        self._clock = clock
        self._queue: asyncio.Queue[Dataset] = asyncio.Queue()

    def request(self, request: BuildRequest) -> Dataset:
        """The build's row; the build itself follows once `run` gets to it."""
        dataset = requested(request, self._clock())
        self.store.save(dataset)
        self._queue.put_nowait(dataset)
        return dataset

    async def run(self) -> None:
        """Builds whatever is asked for, until cancelled."""
        while True:
            dataset = await self._queue.get()
            await asyncio.sleep(self._pace.begins_after_s)
            if self.store.find(dataset.id) is None:
                continue
            self.hearing.clear()
            try:
                built = await self._built(dataset)
                self.store.save(built)
            finally:
                self.hearing.set()
            log.info(
                "dataset built", dataset_id=str(built.id), status=built.status, error=built.error_message
            )
            if built.status == "ready":
                await self._announce(_ready_message(built))

    async def _built(self, dataset: Dataset) -> Dataset:
        now = self._clock()
        clock = self._market.clock(now)
        bars = self._market.closed_bars(dataset.symbol, now)
        horizon_bars = clock.bars_in(dataset.target_config.horizon)
        splits = split_bars(clock, dataset.periods)
        if bars is None or not any(splits.values()):
            reason = f"Insufficient historical data for {dataset.symbol} in requested period"
            return failed(dataset, reason, self._clock())
        splits = {split: labelled(range_, clock, horizon_bars) for split, range_ in splits.items()}
        if not any(splits.values()):
            return failed(dataset, "Data leakage detected", self._clock())
        silence_s = self._pace.build_s(sum(map(len, splits.values())))
        writing = asyncio.to_thread(
            _write_splits,
            self.store,
            dataset,
            splits,
            clock=clock,
            candles=bars[0],
            features=bars[1],
            horizon_bars=horizon_bars,
        )
        try:
            await asyncio.gather(writing, asyncio.sleep(silence_s))
        except (OSError, pl.exceptions.PolarsError) as error:
            return failed(dataset, str(error), self._clock())
        return msgspec.structs.replace(
            dataset,
            status="ready",
            train_records=len(splits["train"]),
            validation_records=len(splits["validation"]),
            test_records=len(splits["test"]),
            storage_path=str(self.store.folder(dataset.id)),
            completed_at=self._clock(),
        )


def _write_splits(
    store: DatasetStore,
    dataset: Dataset,
    splits: Mapping[Split, range],
    *,
    clock: BarClock,
    candles: Candles,
    features: Floats,
    horizon_bars: int,
) -> None:
    for split, bars in splits.items():
        if not bars:
            continue
        times = pl.Series("timestamp", close_times_us(clock, bars)).cast(pl.Datetime("us", "UTC"))
        columns = features[bars.start : bars.stop].T
        pl.DataFrame(
            [
                times,
                pl.Series("symbol", [dataset.symbol]).new_from_index(0, len(bars)),
                *(pl.Series(name, column) for name, column in zip(FEATURE_NAMES, columns, strict=True)),
                pl.Series("target", targets(candles, features, bars, horizon_bars, dataset.target_config)),
            ]
        ).write_parquet(store.split_file(dataset.id, split), compression="snappy")


def _ready_message(dataset: Dataset) -> dict[str, Any]:
    return {
        "dataset_id": str(dataset.id),
        "symbol": dataset.symbol,
        "status": "ready",
        "train_records": dataset.train_records,
        "validation_records": dataset.validation_records,
        "test_records": dataset.test_records,
        "trace_id": None,
    }
