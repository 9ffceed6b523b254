"""From a request to a dataset: what is built next, and whether it is there yet.

Nothing waits in memory: each step reads a run's row, asks the Feature Service one thing, stores the answer.
Of all trainers one at a time asks for a build: the Feature Service answers nothing else meanwhile.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from common.errors import NotFound, TryAgain, Unusable
from common.feature_service import FeatureService
from common.messages import DatasetReady, FeatureVector
from common.training_runs import Run, State
from trainer import runs
from trainer.core.periods import Periods, rolling
from trainer.datasets import Built, Datasets, Wanted
from trainer.events import Event
from trainer.settings import Settings

log = structlog.get_logger(__name__)

QUESTIONS_A_BUILD = 2
"""Questions to the Feature Service before a build: which vectors it computes, and the build itself."""


class BuildNotes(msgspec.Struct, frozen=True, kw_only=True):
    """What the fit must know of the dataset's request; stands in the run's figures."""

    periods: Periods
    feature_registry_version: str


class Builds:
    """Brings the datasets of the requested trainings about."""

    def __init__(
        self,
        settings: Settings,
        engine: AsyncEngine,
        datasets: Datasets,
        features: FeatureService,
        *,
        owner: str,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._datasets = datasets
        self._features = features
        self._owner = owner

    async def tick(self) -> None:
        """Every run that can take a step towards its dataset has taken one."""
        await self._give_up()
        await self._poll()
        await self._request()

    async def on_ready(self, ready: DatasetReady) -> None:
        """The run that waits for the dataset is trained next."""
        if ready.status != "ready":
            return
        async with self._engine.begin() as connection:
            waited = await runs.mark_ready(connection, ready.dataset_id, _records(ready))
        log.info(
            Event.DATASET_READY if waited else Event.DATASET_UNKNOWN,
            dataset_id=str(ready.dataset_id),
            symbol=ready.symbol,
        )

    async def _give_up(self) -> None:
        async with self._engine.begin() as connection:
            given_up = await runs.give_up_overdue(connection)
        for run in given_up:
            log.error(Event.TRAINING_FAILED, run_id=str(run.run_id), reason=run.reason)

    async def _request(self) -> None:
        settings = self._settings
        if settings.training_defer_while_positions_open and await self._deferred():
            return
        async with self._engine.begin() as connection:
            run = await runs.take_requested(
                connection,
                owner=self._owner,
                lease_s=runs.LEASE_S + QUESTIONS_A_BUILD * settings.feature_service_timeout_seconds,
                build_timeout_s=settings.feature_service_dataset_build_timeout_seconds,
                max_parallel=settings.max_parallel_training,
            )
        if run is None:
            return
        with runs.bound(run):
            try:
                wanted = self._wanted(run, await self._features.latest(run.symbol))
                dataset_id = await self._datasets.build(wanted)
            except TryAgain as error:
                await self._delay(run, str(error))
            except Unusable as error:
                await self._fail(run, str(error))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the others get their turn
                await self._delay(run, f"{type(error).__name__}: {error}")
            else:
                await self._building(run, wanted, dataset_id)

    async def _building(self, run: Run, wanted: Wanted, dataset_id: UUID) -> None:
        notes = BuildNotes(periods=wanted.periods, feature_registry_version=wanted.feature_registry_version)
        async with self._engine.begin() as connection:
            ours = await runs.begin_building(
                connection,
                run,
                dataset_id=dataset_id,
                figures=msgspec.to_builtins(notes),
                pause_s=self._settings.feature_service_dataset_poll_interval_seconds,
            )
        if ours:
            log.info(Event.DATASET_REQUESTED, dataset_id=str(dataset_id))
        else:
            log.warning(Event.TRAINING_SUPERSEDED, dataset_id=str(dataset_id))

    async def _deferred(self) -> bool:
        async with self._engine.begin() as connection:
            symbols, news = await runs.defer(connection)
        if news:
            log.info(Event.DATASET_DEFERRED, symbols=symbols)
        return bool(symbols)

    async def _poll(self) -> None:
        async with self._engine.begin() as connection:
            run = await runs.take_building(connection, owner=self._owner)
        if run is None:
            return
        assert run.dataset_id is not None
        with runs.bound(run):
            try:
                built = await self._datasets.status(run.dataset_id)
            except TryAgain as error:
                await self._delay(run, str(error))
            except NotFound as error:
                await self._move(run, state=State.REQUESTED, dataset_id=None, reason=f"{error}: asked again")
                log.warning(Event.DATASET_DELAYED, reason=str(error))
            else:
                match built.status:
                    case "building":
                        await self._delay(run, None)
                    case "failed":
                        await self._fail(run, _explained(built.error_message))
                    case "ready":
                        await self._ready(run, built)

    async def _ready(self, run: Run, built: Built) -> None:
        figures = {**(run.figures or {}), "records": _records(built)}
        async with self._engine.begin() as connection:
            if run.dataset_only:
                await runs.finish(connection, run, State.SUCCEEDED, figures=figures, reason=None)
            else:
                await runs.move(connection, run, state=State.READY, figures=figures, reason=None)
        log.info(Event.DATASET_READY, dataset_id=str(run.dataset_id), symbol=run.symbol)

    def _wanted(self, run: Run, live: FeatureVector) -> Wanted:
        settings = self._settings.of_strategy(run.strategy_id)
        return Wanted(
            symbol=run.symbol,
            strategy_id=run.strategy_id,
            periods=rolling(
                datetime.now(UTC), settings.lengths(), horizon_s=settings.model_prediction_horizon_seconds
            ),
            horizon_s=settings.model_prediction_horizon_seconds,
            target_type=settings.model_target_type,
            threshold=settings.model_classification_threshold,
            # of the vectors that the model will meet
            feature_registry_version=live.feature_registry_version,
        )

    async def _delay(self, run: Run, reason: str | None) -> None:
        pause_s = self._settings.feature_service_dataset_poll_interval_seconds
        await self._move(run, pause_s=pause_s, reason=reason)
        if reason:
            log.info(Event.DATASET_DELAYED, reason=reason, pause_s=pause_s)

    async def _fail(self, run: Run, reason: str) -> None:
        async with self._engine.begin() as connection:
            await runs.finish(connection, run, State.FAILED, reason=reason)
        log.error(Event.TRAINING_FAILED, run_id=str(run.run_id), reason=reason)

    async def _move(self, run: Run, **values: Any) -> None:
        async with self._engine.begin() as connection:
            await runs.move(connection, run, **values)


def _records(counted: Built | DatasetReady) -> dict[str, int]:
    by_split = {
        "train": counted.train_records,
        "validation": counted.validation_records,
        "test": counted.test_records,
    }
    return {split: records for split, records in by_split.items() if records is not None}


def _explained(message: str | None) -> str:
    if message and "leakage" in message.lower():
        return (
            f"the dataset could not be built: {message} (the Feature Service says so where it has no prices)"
        )
    return f"the dataset could not be built: {message or 'the Feature Service does not say why'}"
