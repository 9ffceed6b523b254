"""Figures of versions: as they were stored, over time, and of those that trade now."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.exceptions import ValidationException
from litestar.params import FromPath, QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.comparison import Figure
from api.core.model_performance import FIGURES, ModelPerformance, model_performance
from api.parameters import Limit
from api.periods import EndTime, GranularityChoice, StartTime, time_range
from api.problems import documented
from api.queries import metrics, versions
from api.queries.metrics import MetricPoint
from api.routes.models import named, names_a_version, split_of
from common import model_registry
from common.model_registry import Metric, MetricType
from common.trading_log import Granularity

MAX_POINTS = 50_000
"""A longer series is refused: nobody reads it."""

MetricTypeFilter = Annotated[MetricType | None, QueryParameter(description="Only metrics of this type.")]
MetricNameFilter = Annotated[
    str | None, QueryParameter(max_length=100, pattern=r"^[a-z0-9_]+$", description="Only this metric.")
]
MetricNamesFilter = Annotated[
    str | None,
    QueryParameter(
        max_length=500,
        pattern=r"^[a-z0-9_]{1,100}(,[a-z0-9_]{1,100})*$",
        description="Only these metrics, comma separated; without: all that the version has.",
    ),
]
SplitFilter = Annotated[
    Literal["validation", "test", "live"] | None, QueryParameter(description="Only metrics of this split.")
]


class MetricSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a version over time, the oldest first."""

    model_version: str
    granularity: Granularity
    start_time: datetime
    end_time: datetime
    data_points: list[MetricPoint]
    """Of each metric and split every period of the range; one without an evaluation has the value null."""


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
    *,
    metric_type: MetricTypeFilter = None,
    metric_name: MetricNameFilter = None,
    dataset_split: SplitFilter = None,
    limit: Limit = 1000,
) -> list[Metric]:
    """The newest figures of a version, each for one split; live ones stand for an hour each."""
    async with engine.connect() as connection:
        await named(connection, version)
        return await model_registry.metrics_of(
            connection,
            version,
            metric_type=metric_type,
            metric_name=metric_name,
            dataset_split=dataset_split,
            limit=limit,
        )


@get(
    "/models/{version:str}/metrics/time-series",
    operation_id="GetModelMetricSeries",
    summary="Metrics of a version over time",
    guards=[names_a_version],
    responses=documented(404),
)
async def metric_series(
    engine: NamedDependency[AsyncEngine],
    version: FromPath[str],
    *,
    granularity: GranularityChoice = "day",
    start_time: StartTime = None,
    end_time: EndTime = None,
    metric_names: MetricNamesFilter = None,
    dataset_split: SplitFilter = None,
) -> MetricSeries:
    """Each metric and split by period; the first and the last period may be cut by the range."""
    start, end = time_range(granularity, start_time, end_time, now=datetime.now(UTC))
    async with engine.connect() as connection:
        await named(connection, version)
        points = await metrics.series(
            connection,
            version,
            granularity,
            start=start,
            end=end,
            names=sorted(set(metric_names.split(","))) if metric_names else [],
            split=dataset_split,
            limit=MAX_POINTS + 1,
        )
    if len(points) > MAX_POINTS:
        message = f"more than {MAX_POINTS} points: name fewer metrics, one split or a shorter range"
        raise ValidationException(extra=[{"key": "metric_names", "message": message}])
    return MetricSeries(
        model_version=version, granularity=granularity, start_time=start, end_time=end, data_points=points
    )


@get(
    "/monitoring/models/performance",
    operation_id="GetModelsPerformance",
    summary="The models that trade, and how good they are",
    responses=documented(),
)
async def models_performance(engine: NamedDependency[AsyncEngine]) -> ModelPerformance:
    """How many versions there are, and of each active one the newest figures against the baseline."""
    async with engine.connect() as connection:
        counted = await versions.counts(connection)
        active, _ = await model_registry.versions(connection, is_active=True, limit=1000)
        found = await metrics.newest(connection, [each.version for each in active], FIGURES)
    return model_performance(
        counted,
        [
            (each.strategy_id, each.version, each.model_type, figures(found.get(each.version, [])))
            for each in active
        ],
    )


def figures(found: list[Metric]) -> list[Figure]:
    """Stored figures as they are compared."""
    return [
        Figure(
            metric_name=each.metric_name,
            dataset_split=split_of(each),
            value=each.metric_value,
            evaluated_at=each.evaluated_at,
        )
        for each in found
    ]
