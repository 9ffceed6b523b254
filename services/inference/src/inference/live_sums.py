"""The sums that live quality is made of, added to by every replica, and the figures that they give.

The figures of a version and hour in model_quality_metrics (split `live`) are made from the sums of all
replicas in the transaction that adds to them, so they are right whoever wrote last. A worker of a thousand
symbols adds to a thousand versions at a time: many of them share a transaction, and each of its statements.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import BigInteger, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.ids import NAMESPACE
from common.database import naive_utc
from common.model_registry import METRIC_LIMIT
from common.tables import live_sums, model_quality_metrics, model_versions
from inference.core import live_score
from inference.core.live_score import Sums, Task

STORED_TOGETHER = 50
"""Versions and hours of one transaction: more hold up those who wait for one of them, and the event loop."""
_HOUR = timedelta(hours=1)
_RENEWED = ("metric_value", "evaluated_at", "evaluation_dataset_size", "metadata")

Key = tuple[str, datetime]
"""Version, and beginning of the hour."""

_new_sum = insert(live_sums)
_ADD = _new_sum.on_conflict_do_update(
    index_elements=["version", "hour", "name"], set_={"value": live_sums.c.value + _new_sum.excluded.value}
)
_new_figure = insert(model_quality_metrics)
_RENEW = _new_figure.on_conflict_do_update(
    index_elements=["id"], set_={name: _new_figure.excluded[name] for name in _RENEWED}
)


async def add(connection: AsyncConnection, sums: Mapping[Key, Sums], tasks: Mapping[str, Task]) -> None:
    """The sums are added to those stored, and the figures of their versions and hours renewed.

    `tasks` names the task of each version. A version that is not registered keeps its sums, without figures.
    """
    # One writer a version and hour, in one order: figures are made of sums that nobody changes meanwhile.
    locks = sorted(_lock_of(key) for key in sums)
    await connection.execute(
        select(func.pg_advisory_xact_lock(func.unnest(literal(locks, ARRAY(BigInteger)))))
    )
    await connection.execute(
        _ADD,
        [
            {"version": version, "hour": hour, "name": name, "value": value}
            for (version, hour), each in sorted(sums.items())
            for name, value in sorted(each.items())
        ],
    )
    ids = await _ids(connection, {version for version, _ in sums})
    figures = [
        figure
        for (version, hour), total in (await _totals(connection, sums)).items()
        if version in ids
        for figure in _figures(ids[version], hour, total, tasks[version])
    ]
    if figures:
        await connection.execute(_RENEW, figures)


async def _totals(connection: AsyncConnection, keys: Mapping[Key, object]) -> dict[Key, Sums]:
    table = live_sums.c
    rows = await connection.execute(
        select(table.version, table.hour, table.name, table.value).where(
            tuple_(table.version, table.hour).in_(list(keys))
        )
    )
    totals: dict[Key, Sums] = {}
    for row in rows:
        totals.setdefault((row.version, row.hour), {})[row.name] = row.value
    return totals


async def _ids(connection: AsyncConnection, versions: set[str]) -> dict[str, UUID]:
    table = model_versions.c
    rows = await connection.execute(
        select(table.version, table.id).where(table.version.in_(sorted(versions)))
    )
    return {row.version: row.id for row in rows}


def _figures(version_id: UUID, hour: datetime, total: Sums, task: Task) -> list[dict[str, Any]]:
    described = {
        "dataset_split": "live",
        "hour": hour.isoformat(),
        "confusion": live_score.confusion(total),
    }
    return [
        {
            "id": uuid5(version_id, f"{hour.isoformat()}:{name}"),
            "model_version_id": version_id,
            "metric_name": name,
            "metric_value": value,
            "metric_type": task,
            "evaluated_at": naive_utc(min(hour + _HOUR, datetime.now(UTC))),
            "evaluation_dataset_size": round(total.get("scored", 0.0)),
            "metadata": described,
        }
        for name, value in live_score.figures(total, task).items()
        if abs(value) < METRIC_LIMIT
    ]


def _lock_of(key: Key) -> int:
    version, hour = key
    return uuid5(NAMESPACE, f"live:{version}:{hour.isoformat()}").int >> 65
