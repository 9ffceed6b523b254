"""What makes two runs the same recipe, and which earlier versions of it may speak for a new one."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import cast, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.model_registry import has_files
from common.model_storage import store_of
from common.tables import model_versions
from trainer.job import ChampionFile, Job
from trainer.settings import Settings


def recipe_of(job: Job) -> dict[str, Any]:
    """Everything but the data, the seed and the machine: what is foreseen, from what, by what."""
    return {
        "strategy_id": job.strategy_id,
        "symbol": job.symbol,
        "model_type": str(job.model_type),
        "target_type": str(job.target_type),
        "class_weights": str(job.class_weights),
        "horizon_s": job.horizon_s,
        "label_threshold": job.label_threshold,
        "feature_registry_version": job.feature_registry_version,
        "excluded_features": sorted(job.excluded_features),
    }


async def with_evidence(engine: AsyncEngine, job: Job, settings: Settings) -> Job:
    """`job` with the newest runs of its recipe, MODEL_PROMOTION_EVIDENCE_RUNS with this one."""
    async with engine.connect() as connection:
        found = await speaking(connection, recipe_of(job), limit=settings.model_promotion_evidence_runs - 1)
    root = store_of(settings).location
    return msgspec.structs.replace(
        job,
        earlier=tuple(ChampionFile(version=name, sha256=sha256, root=root) for name, sha256 in found),
        evidence_effective_rows=settings.model_promotion_min_test_rows,
    )


async def speaking(
    connection: AsyncConnection, recipe: Mapping[str, Any], *, limit: int
) -> list[tuple[str, str]]:
    """Version and hash of the newest runs of the recipe whose test rows may be pooled.

    A quarantined version speaks for nobody; one whose files are gone cannot.
    """
    columns = model_versions.c
    rows = await connection.execute(
        select(columns.version, columns.sha256)
        .where(
            columns.strategy_id == recipe["strategy_id"],
            columns.sha256.is_not(None),
            columns.verdict != "quarantined",
            columns.training_config["recipe"] == cast(recipe, JSONB),
            columns.evidence["source"].astext == "test",
            has_files(),
        )
        .order_by(columns.trained_at.desc(), columns.id)
        .limit(limit)
    )
    return [(row.version, row.sha256) for row in rows]
