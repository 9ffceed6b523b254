"""From a dataset to a version: download, fit in a child process, judge, register, announce.

A run that is being trained belongs to this process by a lease that its heart-beat renews. Whatever ends the
fit before its time hands the run back or ends it; a result is stored only while the run is still ours.
"""

import asyncio
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog
from faststream.rabbit import RabbitBroker
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine

from common import artifacts, model_registry
from common.errors import TryAgain, Unusable
from common.training_runs import Run, State
from trainer import child, runs
from trainer.builds import BuildNotes
from trainer.core.dataset import Rejection
from trainer.datasets import Datasets
from trainer.events import Event
from trainer.job import ChampionFile, Fitted, Job, SplitName
from trainer.registration import Registration
from trainer.settings import Settings

log = structlog.get_logger(__name__)

HEART_BEAT_S = runs.LEASE_S / 3
RETRY_PAUSE_S = 5.0
"""Pause before a broken-off fit is begun again, in seconds."""
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class Training:
    """Trains the runs whose dataset is ready, one after the other."""

    def __init__(
        self, settings: Settings, engine: AsyncEngine, broker: RabbitBroker, datasets: Datasets, *, owner: str
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._datasets = datasets
        self._owner = owner
        self._registration = Registration(settings, engine, broker)

    async def tick(self) -> None:
        """Silent trainers' runs wait again, and the next run is trained to its end."""
        async with self._engine.begin() as connection:
            recovered = await runs.recover(connection)
        for run in recovered:
            event = Event.TRAINING_FAILED if run.state is State.FAILED else Event.TRAINING_RECOVERED
            log.warning(event, run_id=str(run.run_id), reason=run.reason)
        async with self._engine.begin() as connection:
            taken = await runs.take_ready(connection, owner=self._owner)
        if taken:
            with runs.bound(taken):
                log.info(Event.TRAINING_STARTED, dataset_id=str(taken.dataset_id), attempt=taken.attempts)
                await self._train(taken)

    async def sweep(self) -> None:
        """Nothing is left on disk of runs that ended and versions that were never registered."""
        async with self._engine.connect() as connection:
            known = await model_registry.names(connection)
            needed = await runs.unfinished_ids(connection)
        removed = await asyncio.to_thread(artifacts.sweep, self._settings.model_storage_path, known)
        removed += await asyncio.to_thread(_sweep_datasets, self._datasets_path(), needed)
        if removed:
            log.info(Event.LEFTOVERS_REMOVED, names=removed)

    async def _train(self, run: Run) -> None:
        limit_s = self._settings.model_training_max_duration_seconds
        progress: dict[str, Any] = {}
        beat = asyncio.create_task(self._beat(run, progress))
        work = asyncio.create_task(self._work(run, progress))
        try:
            await asyncio.wait({beat, work}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            elif beat.done():
                log.warning(Event.TRAINING_SUPERSEDED)
            else:
                await _ended(work)
                await self._finish(
                    run,
                    State.FAILED,
                    reason=f"longer than {limit_s:g} s (MODEL_TRAINING_MAX_DURATION_SECONDS)",
                )
        except asyncio.CancelledError:
            await _ended(work)
            with suppress(DBAPIError, PoolTimeout, OSError):  # then the lease runs out
                await self._hand_back(run)
            raise
        finally:
            await _ended(work)
            await _ended(beat)
            await asyncio.to_thread(shutil.rmtree, self._directory(run), ignore_errors=True)

    async def _work(self, run: Run, progress: dict[str, Any]) -> None:
        since = time.monotonic()
        try:
            directory = await asyncio.to_thread(self._fresh_directory, run)
            progress |= {"stage": "download"}
            job, epoch = await self._job(run, directory)
            result = await child.fit(job, directory, progress.update)
            if result.rejection:
                await self._reject(run, result.rejection)
            elif result.fitted:
                await self._log_missing_test(run, result.fitted)
                await self._registration.complete(
                    run, result.fitted, directory, job=job, epoch=epoch, seconds=time.monotonic() - since
                )
        except Unusable as error:
            await self._finish(run, State.FAILED, reason=str(error))
        except TryAgain as error:
            await self._interrupt(run, str(error))
        except Exception as error:  # noqa: BLE001 - a full disk, a lost database, a bug: attempts are bounded
            await self._interrupt(run, f"{type(error).__name__}: {error}")

    async def _job(self, run: Run, directory: Path) -> tuple[Job, int]:
        assert run.dataset_id is not None
        settings, notes = self._settings, msgspec.convert(run.figures, BuildNotes, strict=False)
        hashes = {
            name: await self._datasets.download(run.dataset_id, name, directory / f"{name}.parquet")
            for name in SPLITS
        }
        async with self._engine.connect() as connection:
            active = await model_registry.active_for(connection, run.strategy_id)
        champion = None
        if active and active.version and active.sha256:
            champion = ChampionFile(
                version=active.version, sha256=active.sha256, root=str(settings.model_storage_path)
            )
        job = Job(
            strategy_id=run.strategy_id,
            symbol=run.symbol,
            dataset_id=str(run.dataset_id),
            splits={name: f"{name}.parquet" if sha256 else None for name, sha256 in hashes.items()},
            dataset_sha256={name: sha256 for name, sha256 in hashes.items() if sha256},
            feature_registry_version=notes.feature_registry_version,
            horizon_s=settings.model_prediction_horizon_seconds,
            label_threshold=settings.model_classification_threshold,
            test_end=notes.periods.test.end,
            min_train_rows=settings.model_training_min_dataset_size,
            excluded_features=settings.model_excluded_features,
            costs=settings.costs(),
            min_trade_share=settings.model_threshold_min_trade_share,
            seed=settings.model_random_seed,
            threads=settings.model_training_threads,
            champion=champion,
        )
        return job, active.epoch if active else 0

    async def _beat(self, run: Run, progress: dict[str, Any]) -> None:
        while True:
            await asyncio.sleep(HEART_BEAT_S)
            try:
                async with self._engine.begin() as connection:
                    if not await runs.hold(connection, run, progress):
                        return
            except Exception as error:  # noqa: BLE001 - the fence decides in the end, whatever is wrong now
                log.warning(Event.HEART_BEAT_MISSED, reason=f"{type(error).__name__}: {error}")

    async def _reject(self, run: Run, rejection: Rejection) -> None:
        figures = {**(run.figures or {}), "rejection": rejection.figures}
        await self._finish(run, State.REJECTED, reason=rejection.reason, figures=figures)

    async def _interrupt(self, run: Run, reason: str) -> None:
        if run.attempts >= runs.MAX_ATTEMPTS:
            await self._finish(run, State.FAILED, reason=f"{reason} (attempt {run.attempts})")
            return
        log.warning(Event.TRAINING_INTERRUPTED, reason=reason, attempt=run.attempts)
        async with self._engine.begin() as connection:
            await runs.move(connection, run, state=State.READY, reason=reason, pause_s=RETRY_PAUSE_S)

    async def _hand_back(self, run: Run) -> None:
        async with self._engine.begin() as connection:
            await runs.move(connection, run, state=State.READY, attempts=run.attempts - 1)
        log.info(Event.TRAINING_INTERRUPTED, reason="this trainer stops", attempt=run.attempts)

    async def _finish(self, run: Run, state: State, **values: Any) -> None:
        async with self._engine.begin() as connection:
            ours = await runs.finish(connection, run, state, **values)
        if not ours:
            log.warning(Event.TRAINING_SUPERSEDED)
        elif state is State.REJECTED:
            log.warning(Event.TRAINING_REJECTED, reason=values["reason"])
        else:
            log.error(Event.TRAINING_FAILED, reason=values["reason"])

    async def _log_missing_test(self, run: Run, fitted: Fitted) -> None:
        if not fitted.rows["test"]:
            log.warning(Event.TEST_SPLIT_MISSING, dataset_id=str(run.dataset_id), reason="empty_split")

    def _fresh_directory(self, run: Run) -> Path:
        directory = self._directory(run)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        return directory

    def _directory(self, run: Run) -> Path:
        return self._datasets_path() / str(run.run_id)

    def _datasets_path(self) -> Path:
        return self._settings.feature_service_dataset_storage_path


def _sweep_datasets(root: Path, needed: set[str]) -> list[str]:
    removed = [entry.name for entry in root.glob("*-*-*-*-*") if entry.name not in needed]
    for name in removed:
        shutil.rmtree(root / name, ignore_errors=True)
    return sorted(removed)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
