"""Versions: which models there are, how good they were on which split, and what was made of it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import get
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.core.versions import is_version_name
from api.parameters import Limit, Offset, StrategyFilter
from api.problems import documented
from common import model_registry
from common.errors import NotFound
from common.model_registry import Metric, MetricType, ModelVersion, Verdict

ActiveFilter = Annotated[bool | None, QueryParameter(description="Only active, or only other, versions.")]
MetricTypeFilter = Annotated[MetricType | None, QueryParameter(description="Only metrics of this type.")]
MetricNameFilter = Annotated[
    str | None, QueryParameter(max_length=100, pattern=r"^[a-z0-9_]+$", description="Only this metric.")
]
SplitFilter = Annotated[
    Literal["validation", "test", "live"] | None, QueryParameter(description="Only metrics of this split.")
]


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A trained version."""

    id: UUID
    version: str
    file_path: str
    """Logical, below the model storage."""
    model_type: str
    strategy_id: str
    trained_at: datetime
    training_duration_seconds: int | None
    training_dataset_size: int | None
    training_config: dict[str, Any] | None
    is_active: bool
    """Its strategy trades with it."""
    is_warmup_mode: bool
    created_at: datetime
    updated_at: datetime
    verdict: Verdict | None
    """Null: trained before verdicts were kept."""


class VersionDetail(Version, frozen=True, kw_only=True):
    """A trained version with everything that is known of it."""

    sha256: str | None
    """Of its manifest."""
    run_id: UUID | None
    """The training that it came of."""
    verdict_sentence: str | None
    evidence: dict[str, Any] | None
    """The figures behind the verdict."""
    quality_metrics: list[Metric]


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """A page of versions, the newest training first."""

    items: list[Version]
    total: int
    limit: int
    offset: int


def names_a_version(connection: ASGIConnection[Any, Any, Any, Any], _: object) -> None:
    """Guard: a path with what cannot be a version name leads nowhere."""
    if not is_version_name(connection.path_params["version"]):
        raise NotFound("no such version")


@get("/models", operation_id="ListModels", summary="List versions", responses=documented())
async def list_models(
    engine: NamedDependency[AsyncEngine],
    strategy_id: StrategyFilter = None,
    is_active: ActiveFilter = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Versions:
    """Versions, the newest training first."""
    async with engine.connect() as connection:
        found, total = await model_registry.versions(
            connection, strategy_id=strategy_id, is_active=is_active, limit=limit, offset=offset
        )
    return Versions(items=[shown(each) for each in found], total=total, limit=limit, offset=offset)


@get(
    "/models/{version:str}",
    operation_id="GetModel",
    summary="One version",
    guards=[names_a_version],
    responses=documented(404),
)
async def get_model(engine: NamedDependency[AsyncEngine], version: FromPath[str]) -> VersionDetail:
    """A version with its metrics, its verdict and the evidence for it."""
    async with engine.connect() as connection:
        found = await named(connection, version)
        metrics = await model_registry.metrics_of(connection, version)
    return msgspec.convert({**msgspec.structs.asdict(found), "quality_metrics": metrics}, VersionDetail)


@get(
    "/models/{version:str}/metrics",
    operation_id="ListModelMetrics",
    summary="Metrics of a version",
    guards=[names_a_version],
    responses=documented(404),
)
async def list_metrics(
    engine: NamedDependency[AsyncEngine],
    version: FromPath[str],
    metric_type: MetricTypeFilter = None,
    metric_name: MetricNameFilter = None,
    dataset_split: SplitFilter = None,
) -> list[Metric]:
    """The figures of a version, each for one split."""
    async with engine.connect() as connection:
        await named(connection, version)
        return await model_registry.metrics_of(
            connection,
            version,
            metric_type=metric_type,
            metric_name=metric_name,
            dataset_split=dataset_split,
        )


async def named(connection: AsyncConnection, version: str) -> ModelVersion:
    """The version of that name. Raises NotFound."""
    found = await model_registry.find(connection, version)
    if found is None:
        raise NotFound("no such version")
    return found


def shown(version: ModelVersion) -> Version:
    """A registered version as the lists show it."""
    return msgspec.convert(version, Version, from_attributes=True)
