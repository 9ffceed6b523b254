"""What makes two runs the same recipe, and which earlier versions of it may speak for a new one."""

from typing import Any

import msgspec
from sqlalchemy import cast, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from common.model_registry import has_files
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
    """`job` with the newest runs of its recipe, MODEL_PROMOTION_EVIDENCE_RUNS with this one.

    A quarantined version speaks for nobody; one whose files are gone cannot.
    """
    columns = model_versions.c
    question = (
        select(columns.version, columns.sha256)
        .where(
            columns.strategy_id == job.strategy_id,
            columns.sha256.is_not(None),
            columns.verdict != "quarantined",
            columns.training_config["recipe"] == cast(recipe_of(job), JSONB),
            columns.evidence["source"].astext == "test",
            has_files(),
        )
        .order_by(columns.trained_at.desc(), columns.id)
        .limit(settings.model_promotion_evidence_runs - 1)
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(question)).all()
    root = str(settings.model_storage_path)
    return msgspec.structs.replace(
        job,
        earlier=tuple(ChampionFile(version=row.version, sha256=row.sha256, root=root) for row in rows),
        evidence_effective_rows=settings.model_promotion_min_test_rows,
    )
