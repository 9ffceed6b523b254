"""What surrounds a version: its training, its activations, and how many there are of which kind."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.core.lineage import Training
from api.core.model_performance import Counted
from common.model_registry import DEFAULT_STRATEGY, Version
from common.tables import activations, live_sums, model_versions, training_runs

_CONFUSION = "confusion:"


class VersionActivation(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a version became the one to trade with."""

    epoch: int
    """Of the strategy's history."""
    activated_at: datetime
    actor: str
    reason: str


async def training_of(connection: AsyncConnection, run_id: UUID | None) -> Training | None:
    """The run that a version came of; None where no row of it is kept."""
    if run_id is None:
        return None
    runs = training_runs.c
    rows = await connection.execute(
        select(runs.trigger, runs.requested_by, runs.trace_id, runs.figures).where(runs.run_id == run_id)
    )
    row = rows.mappings().first()
    return msgspec.convert(row, Training) if row else None


async def activations_of(
    connection: AsyncConnection, version: Version, limit: int = 100
) -> list[VersionActivation]:
    """When the version was made the one to trade with, the newest first."""
    entries = activations.c
    rows = await connection.execute(
        select(entries.epoch, entries.activated_at, entries.actor, entries.reason)
        .where(entries.strategy_id == version.strategy_id, entries.version == version.version)
        .order_by(entries.epoch.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, VersionActivation) for row in rows.mappings()]


async def verdict_sentences(connection: AsyncConnection, versions: Sequence[str]) -> dict[str, str | None]:
    """What the gate said of each of the versions, in words; one that is not registered is left out."""
    kept = model_versions.c
    rows = await connection.execute(
        select(kept.version, kept.verdict_sentence).where(kept.version.in_(versions))
    )
    return {row.version: row.verdict_sentence for row in rows}


async def counts(connection: AsyncConnection) -> list[Counted]:
    """How many versions there are, by strategy, type and whether they are active."""
    kept = model_versions.c
    rows = await connection.execute(
        select(
            func.coalesce(kept.strategy_id, DEFAULT_STRATEGY).label("strategy_id"),
            kept.model_type,
            kept.is_active,
            func.count().label("versions"),
        ).group_by(kept.strategy_id, kept.model_type, kept.is_active)
    )
    return [msgspec.convert(row, Counted) for row in rows.mappings()]


async def live_confusion(connection: AsyncConnection, version: str) -> dict[str, float]:
    """Live predictions of the version by `actual:predicted`, over all hours that are kept."""
    sums = live_sums.c
    rows = await connection.execute(
        select(sums.name, func.sum(sums.value).label("value"))
        .where(sums.version == version, sums.name.startswith(_CONFUSION))
        .group_by(sums.name)
    )
    return {row.name.removeprefix(_CONFUSION): row.value for row in rows}
