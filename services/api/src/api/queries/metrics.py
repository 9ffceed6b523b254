"""Figures of versions: the newest of each kind, and how they went over time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, String, bindparam, select, text, true, union_all
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from common.database import naive_utc
from common.model_registry import Metric, Split
from common.model_registry.quality import SPLIT, shown
from common.tables import model_quality_metrics, model_versions
from common.trading_log import Granularity

MOST_FIGURES: dict[Split | None, int] = {"validation": 500, "test": 500, "live": 16, None: 500}
"""How many of the newest rows of a split are looked at; live figures come by the hour, each hour all of them.
None: rows of the platform's older service that name no split."""
SPLITS: tuple[Split, ...] = ("validation", "test", "live")


class MetricPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A figure in one period."""

    timestamp: datetime
    """The period's begin."""
    value: float | None
    """Mean of the period's evaluations, each weighing as many rows as it had; null: there was none."""
    metric_name: str
    dataset_split: str | None
    """Null: the platform's older service did not say, or there is no figure of that name."""


async def newest(
    connection: AsyncConnection, versions: Sequence[str], names: Sequence[str] = ()
) -> dict[str, list[Metric]]:
    """The newest figures of each version, or those of `names` alone; a version without any is left out."""
    parts = [_newest_of(split, most, versions, names) for split, most in MOST_FIGURES.items()]
    rows = await connection.execute(union_all(*parts))
    found: dict[str, list[Metric]] = {}
    for row in rows.mappings():
        found.setdefault(row["version"], []).append(msgspec.convert(row, Metric))
    return found


async def series(
    connection: AsyncConnection,
    version: str,
    granularity: Granularity,
    *,
    start: datetime,
    end: datetime,
    names: Sequence[str],
    split: str | None,
    limit: int,
) -> list[MetricPoint]:
    """Every period from `start` to before `end`, for each name and split that has a figure in one of them.

    A name that was asked for and has none is there all the same. At most `limit` points.
    """
    rows = await connection.execute(
        _SERIES,
        {
            "version": version,
            "granularity": granularity,
            "start": naive_utc(start),
            "end": naive_utc(end),
            "names": list(names),
            "splits": [split] if split else list(SPLITS),
            "split": split,
            "limit": limit,
        },
    )
    return [msgspec.convert(row, MetricPoint) for row in rows.mappings()]


def _newest_of(
    split: Split | None, most: int, versions: Sequence[str], names: Sequence[str]
) -> Select[*tuple[Any, ...]]:
    figures = model_quality_metrics.c
    wanted: list[ColumnElement[bool]] = [figures.model_version_id == model_versions.c.id]
    wanted.append(SPLIT.is_(None) if split is None else SPLIT.in_([split]))
    if names:
        wanted.append(figures.metric_name.in_(names))
    lately = (
        select(model_quality_metrics)
        .where(*wanted)
        .order_by(figures.evaluated_at.desc())
        .limit(most)
        .lateral()
    )
    return (
        select(model_versions.c.version, *shown(lately.c))
        .select_from(model_versions.join(lately, true()))
        .where(model_versions.c.version.in_(versions))
        .order_by(lately.c.evaluated_at.desc())
    )


_SERIES = text("""
    WITH found AS (
        SELECT
            m.metric_name,
            m.metadata ->> 'dataset_split' AS dataset_split,
            date_trunc(CAST(:granularity AS text), m.evaluated_at) AS period,
            (sum(m.metric_value * greatest(m.evaluation_dataset_size, 1))
                / sum(greatest(m.evaluation_dataset_size, 1)))::double precision AS value
        FROM model_quality_metrics AS m
        WHERE m.model_version_id = (SELECT id FROM model_versions WHERE version = :version)
            AND (
                m.metadata ->> 'dataset_split' = ANY(:splits)
                OR (m.metadata ->> 'dataset_split' IS NULL AND CAST(:split AS text) IS NULL)
            )
            AND m.evaluated_at >= :start AND m.evaluated_at < :end
            AND (cardinality(:names) = 0 OR m.metric_name = ANY(:names))
        GROUP BY 1, 2, 3
    ), kinds AS (
        SELECT DISTINCT metric_name, dataset_split FROM found
        UNION ALL
        SELECT name, CAST(:split AS text) FROM unnest(:names) AS name
        WHERE name NOT IN (SELECT metric_name FROM found)
    ), periods AS (
        SELECT generate_series(
            date_trunc(CAST(:granularity AS text), CAST(:start AS timestamp)),
            CAST(:end AS timestamp) - interval '1 microsecond',
            CAST('1 ' || CAST(:granularity AS text) AS interval)
        ) AS period
    )
    SELECT timezone('UTC', periods.period) AS timestamp, found.value, kinds.metric_name, kinds.dataset_split
    FROM periods
    CROSS JOIN kinds
    LEFT JOIN found ON found.period = periods.period AND found.metric_name = kinds.metric_name
        AND coalesce(found.dataset_split, '') = coalesce(kinds.dataset_split, '')
    ORDER BY periods.period, kinds.metric_name, kinds.dataset_split
    LIMIT :limit
""").bindparams(bindparam("names", type_=ARRAY(String)), bindparam("splits", type_=ARRAY(String)))
