"""From a dataset to a version: download, fit in a child process, judge, register, announce.

A run that is being trained belongs to this process by a lease that its heart-beat renews. Whatever ends the
fit before its time stops the child process and hands the run back or ends it; a result is stored only while
the run is still ours.
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

from common import model_registry
from common.errors import TryAgain, Unusable
from common.model_storage import store_of
from common.model_store import ModelStore
from common.training_runs import Run, State
from trainer import child, runs
from trainer.builds import BuildNotes
from trainer.core.dataset import Rejection
from trainer.datasets import Datasets
from trainer.events import Event
from trainer.job import SPLITS, ChampionFile, Fitted, Job
from trainer.memory import memory_bytes
from trainer.recipes import with_evidence
from trainer.registration import Registration
from trainer.retention import archive_of, check_room
from trainer.settings import Settings
from trainer.versions_at_hand import brought

log = structlog.get_logger(__name__)

HEART_BEAT_S = 2.0
"""How often a lease is renewed, and how soon a cancelled fit is noticed, in seconds."""
RETRY_PAUSE_S = 5.0
"""Pause before a broken-off fit is begun again, in seconds."""

_DIRECTORY = "training-"
"""Begins the name of a run's directory: beside ours the Feature Service may keep its own, which are not."""


class Training:
    """Trains the runs whose dataset is ready: one a tick, and ticks may overlap."""

    def __init__(
        self,
        settings: Settings,
        engine: AsyncEngine,
        broker: RabbitBroker,
        datasets: Datasets,
        *,
        owner: str,
        fit: child.Fit = child.fit,
    ) -> None:
        self._settings = settings
        self._store = store_of(settings)
        self._engine = engine
        self._datasets = datasets
        self._owner = owner
        self._fit = fit
        self._registration = Registration(settings, engine, broker)

    async def recover(self) -> None:
        """Runs of trainers that went silent wait again, or have failed after the last attempt."""
        async with self._engine.begin() as connection:
            recovered = await runs.recover(connection)
        for run in recovered:
            event = Event.TRAINING_FAILED if run.state is State.FAILED else Event.TRAINING_RECOVERED
            log.warning(event, run_id=str(run.run_id), reason=run.reason)

    async def tick(self) -> None:
        """The next run, if there is one and room for it, was trained to its end."""
        async with self._engine.begin() as connection:
            taken = await runs.take_ready(
                connection, owner=self._owner, max_parallel=self._settings.max_parallel_training
            )
        if taken:
            with runs.bound(taken):
                log.info(Event.TRAINING_STARTED, dataset_id=str(taken.dataset_id), attempt=taken.attempts)
                await self._train(taken)

    async def sweep(self) -> None:
        """Nothing is left on disk of runs that ended and versions that were never registered."""
        # Looked at before it is asked what is needed: what comes in between is left alone.
        found = await asyncio.to_thread(_datasets_in, self._datasets_path())
        async with self._engine.connect() as connection:
            known = await model_registry.names(connection)
            needed = await runs.unfinished_ids(connection)
        removed = await asyncio.to_thread(self._store.sweep, known)
        removed += await asyncio.to_thread(_sweep_archive, archive_of(self._settings))
        unneeded = [path for path in found if path.name.removeprefix(_DIRECTORY) not in needed]
        removed += await asyncio.to_thread(_remove, unneeded)
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
                await _ended(work)
                log.warning(Event.TRAINING_SUPERSEDED)
                async with self._engine.begin() as connection:
                    await runs.let_go(connection, run)
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
            progress |= {"stage": runs.FETCHING}
            await asyncio.to_thread(check_room, self._settings)
            job, epoch = await self._job(run, directory)
            job = await asyncio.to_thread(brought, job, self._store, directory)
            progress |= {"stage": "read"}
            async with self._engine.begin() as connection:  # at once: builds wait for the end of the download
                await runs.hold(connection, run, progress)
            result = await self._fit(job, directory, progress.update)
            if result.rejection:
                await self._reject(run, result.rejection)
            elif result.fitted:
                self._log_missing_test(job, result.fitted)
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
        settings = self._settings.of_strategy(run.strategy_id)
        notes = msgspec.convert(run.figures, BuildNotes, strict=False)
        fetched = await self._datasets.fetch(run.dataset_id, directory)
        async with self._engine.connect() as connection:
            active = await model_registry.active_for(connection, run.strategy_id)
        champion = None
        if active and active.version and active.sha256:
            champion = ChampionFile(version=active.version, sha256=active.sha256, root=self._store.location)
        job = Job(
            strategy_id=run.strategy_id,
            symbol=run.symbol,
            dataset_id=str(run.dataset_id),
            splits={name: f"{name}.parquet" if name in fetched.sha256 else None for name in SPLITS},
            missing=fetched.missing,
            dataset_sha256=fetched.sha256,
            feature_registry_version=notes.feature_registry_version,
            model_type=settings.model_type,
            target_type=settings.model_target_type,
            class_weights=settings.model_class_weights,
            volatility_feature=settings.model_volatility_feature,
            horizon_s=settings.model_prediction_horizon_seconds,
            label_threshold=settings.model_classification_threshold,
            test_end=notes.periods.test.end,
            min_train_rows=settings.model_training_min_dataset_size,
            min_class_share=settings.model_training_min_class_share,
            excluded_features=settings.model_excluded_features,
            costs=settings.costs(),
            min_trade_share=settings.model_threshold_min_trade_share,
            probability_lead=settings.signal_probability_lead,
            seed=settings.model_random_seed,
            threads=settings.model_training_threads,
            in_memory_bytes=round(settings.model_training_memory_fraction * memory_bytes()),
            scheduler=settings.model_training_dask_scheduler,
            champion=champion,
        )
        return await with_evidence(self._engine, job, settings), active.epoch if active else 0

    async def _beat(self, run: Run, progress: dict[str, Any]) -> None:
        while True:
            await asyncio.sleep(HEART_BEAT_S)
            try:
                async with self._engine.begin() as connection:
                    if not await runs.hold(connection, run, progress) and await runs.lost(connection, run):
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

    def _log_missing_test(self, job: Job, fitted: Fitted) -> None:
        if not fitted.rows["test"]:
            reason = job.missing.get("test", "empty_split")
            log.warning(Event.TEST_SPLIT_MISSING, dataset_id=job.dataset_id, symbol=job.symbol, reason=reason)

    def _fresh_directory(self, run: Run) -> Path:
        directory = self._directory(run)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        return directory

    def _directory(self, run: Run) -> Path:
        return self._datasets_path() / f"{_DIRECTORY}{run.run_id}"

    def _datasets_path(self) -> Path:
        return self._settings.feature_service_dataset_storage_path


def _datasets_in(root: Path) -> list[Path]:
    return sorted(root.glob(f"{_DIRECTORY}*"))


# Only what a crash left half copied: an archived version is nobody's leftover, whatever the rows say.
def _sweep_archive(archive: ModelStore) -> list[str]:
    return archive.sweep(archive.versions())


def _remove(directories: list[Path]) -> list[str]:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
    return [directory.name for directory in directories]


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
