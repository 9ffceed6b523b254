"""Files of old versions make room, and no training begins where there is none.

A version's row says what is about to happen to its files before it happens, and the activation of such a
version conflicts: nothing that trades is ever removed, whoever acts at the same time. What a crash left half
done is finished in the next round. Rows and figures stay for ever.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import Gauge
from sqlalchemy import ColumnElement, cast, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common import artifacts, model_registry
from common.errors import Unusable
from common.model_directory import ModelDirectory, free_bytes
from common.model_storage import store_at, store_of
from common.model_store import ModelStore
from common.tables import model_versions, served_versions
from trainer.core.retention import expendable
from trainer.events import Event
from trainer.recipes import speaking
from trainer.settings import Settings

log = structlog.get_logger(__name__)

REMEMBERED_ACTIVATIONS = 10
"""What a strategy traded with in so many of its newest activations is kept."""

STORED_BYTES = Gauge("flotilla_model_storage_bytes", "Size of all files of versions that are kept.")
STORED_VERSIONS = Gauge("flotilla_model_storage_versions", "Versions whose files are kept.")
FREE_BYTES = Gauge("flotilla_storage_free_bytes", "Free space where files are stored.", ["kept"])

_FATES = {"deleting": "deleted", "archiving": "archived"}


class Retention:
    """Keeps the files of the newest and of all needed versions, and no others."""

    def __init__(self, settings: Settings, engine: AsyncEngine) -> None:
        self._settings = settings
        self._store = store_of(settings)
        self._engine = engine

    async def tick(self) -> None:
        """What is not needed any more is gone or archived, and the gauges show what there is."""
        await asyncio.to_thread(_made, self._store)
        await self._restore()
        async with self._engine.begin() as connection:
            doomed = await self._expendable(connection)
            if doomed:
                await _mark(connection, doomed, self._intent(), before=None)
        for intent, fate in _FATES.items():
            for version in await self._with_files(intent):
                await self._carry_out(version, intent, fate)
        await asyncio.to_thread(_show, self._store)

    async def look(self) -> None:
        """The gauge shows the space that is free now."""
        await asyncio.to_thread(_show_free, self._store, self._settings.feature_service_dataset_storage_path)

    async def _expendable(self, connection: AsyncConnection) -> Sequence[str]:
        columns = model_versions.c
        rows = await connection.execute(
            select(columns.version, columns.strategy_id, columns.training_config["recipe"].label("recipe"))
            .where(columns.sha256.is_not(None), columns.strategy_id.is_not(None), _files_are(None))
            .order_by(columns.trained_at.desc(), columns.id)
        )
        newest_first: dict[str, list[str]] = {}
        recipes: dict[tuple[str, str], dict[str, Any]] = {}
        for row in rows:
            newest_first.setdefault(row.strategy_id, []).append(row.version)
            if row.recipe:
                recipes.setdefault((row.strategy_id, row.recipe["symbol"]), row.recipe)
        needed = set(await connection.scalars(select(served_versions.c.version)))
        for strategy_id in newest_first:
            history = await model_registry.activations(connection, strategy_id, limit=None)
            needed |= {each.version for each in history[:REMEMBERED_ACTIVATIONS]}
            needed.add(model_registry.earlier_version(history[::-1]))
        # whatever the next version may be judged with is kept, too, however many others came in between
        for recipe in recipes.values():
            found = await speaking(connection, recipe, limit=self._settings.model_promotion_evidence_runs)
            needed |= {version for version, _ in found}
        keep = self._settings.model_keep_versions
        return expendable(newest_first, keep=keep, needed={each for each in needed if each})

    # An operator brought an archived version back: it may be activated again, and stays.
    async def _restore(self) -> None:
        present = await asyncio.to_thread(self._store.versions)
        back = sorted(present.keys() & set(await self._with_files("archived")))
        if back:
            async with self._engine.begin() as connection:
                await _mark(connection, back, "restored", before="archived")
            log.info(Event.VERSION_RESTORED, names=back)

    async def _with_files(self, fate: str) -> list[str]:
        async with self._engine.connect() as connection:
            return list(await connection.scalars(select(model_versions.c.version).where(_files_are(fate))))

    async def _carry_out(self, version: str, intent: str, fate: str) -> None:
        if fate == "archived":
            await asyncio.to_thread(artifacts.archive, self._store, version, archive_of(self._settings))
        else:
            await asyncio.to_thread(self._store.remove, version)
        async with self._engine.begin() as connection:
            await _mark(connection, [version], fate, before=intent)
        log.info(Event.VERSION_RETIRED, version=version, files=fate)

    def _intent(self) -> str:
        return "archiving" if self._settings.model_retention_policy == "archive" else "deleting"


def archive_of(settings: Settings) -> ModelStore:
    """Where archived versions lie: MODEL_ARCHIVE_PATH, or `archive` in the model store."""
    if settings.model_archive_path:
        return ModelDirectory(settings.model_archive_path)
    return store_at(f"{store_of(settings).location}/archive")


def room(settings: Settings) -> str | None:
    """Why no training may begin: too little space where models or datasets are stored; None where it may."""
    store, datasets = store_of(settings), settings.feature_service_dataset_storage_path
    for name, path, free in (
        ("MODEL_STORAGE_PATH", store.location, store.state().free_bytes),
        ("FEATURE_SERVICE_DATASET_STORAGE_PATH", str(datasets), free_bytes(datasets)),
    ):
        if free is not None and free < settings.model_min_free_bytes:
            return (
                f"only {free:,} bytes are free under {path} ({name}), "
                f"{settings.model_min_free_bytes:,} are needed (MODEL_MIN_FREE_BYTES)"
            )
    return None


def check_room(settings: Settings) -> None:
    """Returns where there is room for a training; raises Unusable with the reason where there is not."""
    if reason := room(settings):
        raise Unusable(reason)


async def _mark(
    connection: AsyncConnection, versions: Sequence[str], fate: str, *, before: str | None
) -> None:
    columns = model_versions.c
    known = func.coalesce(columns.evidence, cast({}, JSONB))
    await connection.execute(
        update(model_versions)
        .where(columns.version.in_(versions), ~columns.is_active, _files_are(before))
        .values(evidence=known.op("||")(cast({"files": fate}, JSONB)), updated_at=func.now())
    )


def _files_are(fate: str | None) -> ColumnElement[bool]:
    stored: ColumnElement[str] = model_versions.c.evidence["files"].astext
    return stored.is_(None) if fate is None else stored == fate


# A directory that nothing was written to yet is there all the same, so that others may look into it.
def _made(store: ModelStore) -> None:
    if isinstance(store, ModelDirectory):
        store.root.mkdir(parents=True, exist_ok=True)


def _show(store: ModelStore) -> None:
    sizes = store.versions()
    STORED_BYTES.set(sum(sizes.values()))
    STORED_VERSIONS.set(len(sizes))


def _show_free(store: ModelStore, datasets: Path) -> None:
    for kept, free in (("models", store.state().free_bytes), ("datasets", free_bytes(datasets))):
        if free is not None:
            FREE_BYTES.labels(kept).set(free)
