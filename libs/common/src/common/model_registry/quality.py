"""How good versions were: their figures by split, and which figures the table can hold."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import ColumnElement, Double, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.errors import NotFound, Unusable
from common.tables import model_quality_metrics, model_versions

METRIC_LIMIT = 1e12
"""The table's column holds smaller values only."""
METRIC_DECIMALS = 8
"""So many it keeps; a figure that this changes by more than a hundredth is not held."""
METRIC_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        (
            "accuracy",
            "balanced_accuracy",
            "baseline_accuracy",
            "precision",
            "recall",
            "f1",
            "f1_score",
            "roc_auc",
            "pr_auc",
            "brier",
            "brier_score",
            "ece",
        ),
        (0.0, 1.0),
    ),
    "mcc": (-1.0, 1.0),
    "log_loss": (0.0, math.inf),
}
"""Where the table's constraint wants a classifier's figure to lie, ends included."""

MetricType = Literal["classification", "regression", "trading_performance"]
Split = Literal["validation", "test", "live"]

_figures = model_quality_metrics.c

# Not a bound key: an index over the expression would serve no prepared statement.
SPLIT: ColumnElement[str | None] = literal_column("model_quality_metrics.metadata ->> 'dataset_split'")
"""The split that a stored figure is of; null where the platform's older service did not say."""


class NewMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of a version on one split."""

    metric_name: str
    metric_value: float
    metric_type: MetricType
    dataset_split: Split
    evaluation_dataset_size: int


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A stored figure; `metadata` names its `dataset_split`."""

    metric_name: str
    metric_value: float
    metric_type: str
    """classification, regression or trading_performance."""
    evaluated_at: datetime
    """When it was found."""
    evaluation_dataset_size: int | None
    """Rows behind it; null: not told."""
    metadata: dict[str, Any] | None
    """The split and what belongs to the figure."""


async def add_metrics(connection: AsyncConnection, version: str, metrics: Sequence[NewMetric]) -> None:
    """Newer figures of a version stand beside its older ones.

    Raises Unusable for a figure that the table cannot hold, NotFound where the version is not.
    """
    version_id = await connection.scalar(
        select(model_versions.c.id).where(model_versions.c.version == version)
    )
    if version_id is None:
        raise NotFound(f"no version {version}")
    await store(connection, version, version_id, metrics)


async def store(
    connection: AsyncConnection, version: str, version_id: UUID, metrics: Sequence[NewMetric]
) -> None:
    """As `add_metrics`, for a version whose row is known."""
    for metric in metrics:
        if reason := unholdable(metric):
            raise Unusable(f"version {version}: {reason}")
    if metrics:
        await connection.execute(
            insert(model_quality_metrics), [_row_of(each, version_id) for each in metrics]
        )


def unholdable(metric: NewMetric) -> str | None:
    """Why the table cannot hold the figure; None where it can."""
    name, value = metric.metric_name, metric.metric_value
    if not math.isfinite(value):
        return f"{name} is {value}"
    if abs(value) >= METRIC_LIMIT:
        return f"{name} is {value:g}, {METRIC_LIMIT:g} or more does not fit"
    if abs(round(value, METRIC_DECIMALS) - value) > abs(value) / 100:
        return f"{name} is {value:g}, {METRIC_DECIMALS} decimals would change it"
    lowest, highest = METRIC_RANGES.get(name, (-math.inf, math.inf))
    if metric.metric_type == "classification" and not lowest <= value <= highest:
        return f"{name} is {value:g}, it has to lie in {lowest:g} to {highest:g}"
    return None


async def metrics_of(
    connection: AsyncConnection,
    version: str,
    *,
    metric_type: str | None = None,
    metric_name: str | None = None,
    dataset_split: str | None = None,
    limit: int | None = None,
) -> list[Metric]:
    """The newest `limit` figures of a version, by split and name; none for an unknown version."""
    wanted = [model_versions.c.version == version]
    wanted += [
        column == value
        for column, value in (
            (_figures.metric_type, metric_type),
            (_figures.metric_name, metric_name),
            (SPLIT, dataset_split),
        )
        if value is not None
    ]
    newest = (
        select(model_quality_metrics)
        .join(model_versions, model_versions.c.id == _figures.model_version_id)
        .where(*wanted)
        .order_by(_figures.evaluated_at.desc())
        .limit(limit)
        .subquery()
    )
    rows = await connection.execute(
        select(*shown(newest.c)).order_by(
            newest.c.metadata["dataset_split"].astext, newest.c.metric_name, newest.c.evaluated_at
        )
    )
    return [msgspec.convert(row, Metric) for row in rows.mappings()]


def shown(figures: Any) -> tuple[ColumnElement[Any], ...]:
    """What `Metric` is read from, of a table or selection with the columns of model_quality_metrics."""
    return (
        figures.metric_name,
        cast(figures.metric_value, Double).label("metric_value"),
        figures.metric_type,
        func.timezone("UTC", figures.evaluated_at).label("evaluated_at"),
        figures.evaluation_dataset_size,
        figures.metadata,
    )


def _row_of(metric: NewMetric, version_id: UUID) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "model_version_id": version_id,
        "metric_name": metric.metric_name,
        "metric_value": metric.metric_value,
        "metric_type": metric.metric_type,
        "evaluation_dataset_size": metric.evaluation_dataset_size,
        "metadata": {"dataset_split": metric.dataset_split},
    }
