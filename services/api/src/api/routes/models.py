"""Versions: which models there are, where each comes from, and whether its files are what was registered."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from litestar import get
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.core.lineage import Lineage, lineage
from api.core.versions import is_version_name
from api.parameters import Limit, Offset, StrategyFilter
from api.problems import documented
from api.queries import metrics
from api.queries.versions import VersionActivation, activations_of, training_of
from common import artifacts, model_registry
from common.artifacts import FileState
from common.database import reading
from common.errors import NotFound
from common.model_registry import Metric, ModelVersion, Sort, Version
from common.model_store import ModelStore

ActiveFilter = Annotated[bool | None, QueryParameter(description="Only active, or only other, versions.")]
ModelTypeFilter = Annotated[
    Literal["xgboost", "random_forest", "logistic_regression", "sgd_classifier"] | None,
    QueryParameter(description="Only versions of this type."),
]
SortChoice = Annotated[
    Sort, QueryParameter(description="Order; a minus sign: the greatest first. By version: v10 after v9.")
]


class VersionDetail(ModelVersion, frozen=True, kw_only=True):
    """A version, where it comes from, how good it is, and what lies on disk."""

    quality_metrics: list[Metric]
    """The newest of each name and split; the listing of metrics has all."""
    lineage: Lineage
    files: list[FileState]
    """Read anew for this answer; empty where the version has no hash to hold them against."""
    activations: list[VersionActivation]
    """When it was made the one to trade with, the newest first."""


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """A page of versions."""

    items: list[Version]
    total: int
    """Versions that match, on all pages."""
    limit: int
    offset: int


async def names_a_version(connection: ASGIConnection[Any, Any, Any, Any], _: object) -> None:
    """Guard: a path with what cannot be a version name leads nowhere."""
    for name in ("version", "other"):
        if not is_version_name(connection.path_params.get(name, "v0")):
            raise NotFound("no such version")


@get("/models", operation_id="ListModels", summary="List versions", responses=documented())
async def list_models(
    engine: NamedDependency[AsyncEngine],
    *,
    strategy_id: StrategyFilter = None,
    is_active: ActiveFilter = None,
    model_type: ModelTypeFilter = None,
    sort: SortChoice = "-trained_at",
    limit: Limit = 100,
    offset: Offset = 0,
) -> Versions:
    """A page of the versions that match; without `sort` the newest training first."""
    async with reading(engine) as connection:
        found, total = await model_registry.versions(
            connection,
            strategy_id=strategy_id,
            is_active=is_active,
            model_type=model_type,
            sort=sort,
            limit=limit,
            offset=offset,
        )
    return Versions(items=found, total=total, limit=limit, offset=offset)


@get(
    "/models/{version:str}",
    operation_id="GetModel",
    summary="One version",
    guards=[names_a_version],
    responses=documented(404),
)
async def get_model(
    engine: NamedDependency[AsyncEngine], store: NamedDependency[ModelStore], version: FromPath[str]
) -> VersionDetail:
    """A version with its newest metrics, verdict and evidence, its lineage, and the state of its files."""
    async with engine.connect() as connection:
        found = await named(connection, version)
        figures = await metrics.newest(connection, [version])
        run = await training_of(connection, found.run_id)
        activations = await activations_of(connection, found)
    files = (
        await asyncio.to_thread(artifacts.file_states, store, version, found.sha256) if found.sha256 else []
    )
    return VersionDetail(
        **msgspec.structs.asdict(found),
        quality_metrics=_newest_of_each(figures.get(version, [])),
        lineage=lineage(found.training_config, found.evidence, run),
        files=files,
        activations=activations,
    )


async def named(connection: AsyncConnection, version: str) -> ModelVersion:
    """The version of that name. Raises NotFound."""
    found = await model_registry.find(connection, version)
    if found is None:
        raise NotFound("no such version")
    return found


def split_of(metric: Metric) -> str | None:
    """The split that a stored figure is of; None: the platform's older service did not say."""
    split: str | None = (metric.metadata or {}).get("dataset_split")
    return split


def _newest_of_each(figures: list[Metric]) -> list[Metric]:
    found = {
        (split_of(each) or "", each.metric_type, each.metric_name): each
        for each in sorted(figures, key=lambda figure: figure.evaluated_at)
    }
    return [found[key] for key in sorted(found)]
