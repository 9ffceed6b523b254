"""The model registry: which versions exist, how good they were, and which one a strategy trades with.

The newest epoch of a strategy in `activations` is the truth; `model_versions.is_active` mirrors it in the
same transaction. An activation is a compare-and-set on the epoch: of several at once one wins, the others
get Conflict. The caller owns the transaction.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import ColumnElement, RowMapping, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.database import naive_utc
from common.errors import Conflict, NotFound, Unusable
from common.messages import VersionActivated
from common.tables import activations as activation_rows
from common.tables import model_quality_metrics, model_version_numbers, model_versions

DEFAULT_STRATEGY = "default"
"""How a version without a strategy is read."""
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
Verdict = Literal["accepted", "refused", "insufficient_evidence", "quarantined"]


class NewVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version to register; its files are complete under `/models/{version}` already."""

    version: str
    strategy_id: str
    model_type: str
    sha256: str
    """Of the manifest's bytes: inference trusts nothing else."""
    trained_at: datetime
    training_duration_seconds: int
    training_dataset_size: int
    training_config: dict[str, Any]
    verdict: Verdict
    verdict_sentence: str
    evidence: dict[str, Any]
    run_id: UUID


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A registered version. Null fields are those of rows that the platform's older service wrote."""

    id: UUID
    version: str
    strategy_id: str
    model_type: str
    file_path: str
    """Logical, `/models/v{n}`: readers resolve it against MODEL_STORAGE_PATH."""
    sha256: str | None
    trained_at: datetime
    training_duration_seconds: int | None
    training_dataset_size: int | None
    training_config: dict[str, Any] | None
    is_active: bool
    is_warmup_mode: bool
    created_at: datetime
    updated_at: datetime
    verdict: Verdict | None
    verdict_sentence: str | None
    evidence: dict[str, Any] | None
    run_id: UUID | None


class NewMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of a version on one split."""

    metric_name: str
    metric_value: float
    metric_type: MetricType
    dataset_split: Literal["validation", "test", "live"]
    evaluation_dataset_size: int


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A stored figure; `metadata` names its `dataset_split`."""

    metric_name: str
    metric_value: float
    metric_type: str
    evaluated_at: datetime
    evaluation_dataset_size: int | None
    metadata: dict[str, Any] | None


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy trades with since `activated_at`; version None: nothing, it warms up."""

    strategy_id: str
    epoch: int
    version: str | None
    sha256: str | None
    activated_at: datetime


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a strategy's history: who made which version the one to trade with, and why."""

    strategy_id: str
    epoch: int
    version: str | None
    sha256: str | None
    actor: str
    reason: str
    activated_at: datetime


async def next_version(connection: AsyncConnection) -> str:
    """A version name that was never given before; it stays given when the transaction fails."""
    return f"v{await connection.scalar(model_version_numbers.next_value())}"


async def add(connection: AsyncConnection, new: NewVersion, metrics: Sequence[NewMetric]) -> ModelVersion:
    """The version is registered with its metrics, not active.

    Raises Unusable for a metric that the table cannot hold.
    """
    _check(new.version, metrics)
    inserted = await connection.execute(
        insert(model_versions)
        .values(
            id=uuid4(),
            version=new.version,
            file_path=f"/models/{new.version}",
            model_type=new.model_type,
            strategy_id=new.strategy_id,
            trained_at=naive_utc(new.trained_at),
            training_duration_seconds=new.training_duration_seconds,
            training_dataset_size=new.training_dataset_size,
            training_config=new.training_config,
            sha256=new.sha256,
            run_id=new.run_id,
            verdict=new.verdict,
            verdict_sentence=new.verdict_sentence,
            evidence=new.evidence,
        )
        .returning(model_versions)
    )
    version = _version_of(inserted.mappings().one())
    if metrics:
        await connection.execute(
            insert(model_quality_metrics), [_row_of(each, version.id) for each in metrics]
        )
    return version


async def add_metrics(connection: AsyncConnection, version: str, metrics: Sequence[NewMetric]) -> None:
    """Newer figures of a version stand beside its older ones; raises as `add`, NotFound where it is not."""
    _check(version, metrics)
    found = await find(connection, version)
    if found is None:
        raise NotFound(f"no version {version}")
    if metrics:
        await connection.execute(insert(model_quality_metrics), [_row_of(each, found.id) for each in metrics])


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


async def activate(
    connection: AsyncConnection,
    version: str,
    *,
    strategy_id: str,
    actor: str,
    reason: str,
    expected_epoch: int | None = None,
) -> Active:
    """`version` is the one that `strategy_id` trades with, from the commit on.

    Raises NotFound for an unknown version. Raises Conflict for one of another strategy, without an artifact
    hash or whose files are not kept any more, and where the strategy's epoch is not `expected_epoch` (0:
    never activated) or moved meanwhile.
    """
    found = await find(connection, version)
    if found is None:
        raise NotFound(f"no version {version}")
    if found.strategy_id != strategy_id:
        raise Conflict(f"version {version} belongs to strategy {found.strategy_id}, not {strategy_id}")
    if found.sha256 is None:
        raise Conflict(f"version {version} has no artifact hash: it cannot be served")
    active = await _begin_epoch(
        connection,
        strategy_id,
        version=version,
        sha256=found.sha256,
        actor=actor,
        reason=reason,
        expected_epoch=expected_epoch,
    )
    # The row is the lock against a removal of its files at the same time.
    mirrored = await connection.execute(
        _mirrored(is_active=True).where(model_versions.c.version == version, has_files())
    )
    if not mirrored.rowcount:
        raise Conflict(f"the files of version {version} are not kept any more (MODEL_KEEP_VERSIONS)")
    return active


async def deactivate(connection: AsyncConnection, strategy_id: str, *, actor: str, reason: str) -> Active:
    """No version of the strategy is active any more. Raises Conflict where none was."""
    current = await active_for(connection, strategy_id)
    if current is None or current.version is None:
        raise Conflict(f"no version of strategy {strategy_id} is active")
    return await _begin_epoch(
        connection,
        strategy_id,
        version=None,
        sha256=None,
        actor=actor,
        reason=reason,
        expected_epoch=current.epoch,
    )


async def rollback(
    connection: AsyncConnection, strategy_id: str, *, actor: str, reason: str, to: str | None = None
) -> Active:
    """The version active before the current one, or `to`, is active again.

    Rolling back again goes further back, never forward to what was just left. Raises Conflict where there is
    nothing earlier, and as `activate` does.
    """
    history = list(reversed(await activations(connection, strategy_id, limit=None)))
    target = to or earlier_version(history)
    if target is None:
        raise Conflict(f"strategy {strategy_id} has no earlier version to go back to")
    return await activate(
        connection,
        target,
        strategy_id=strategy_id,
        actor=actor,
        reason=reason,
        expected_epoch=len(history) and history[-1].epoch,
    )


async def active_for(connection: AsyncConnection, strategy_id: str) -> Active | None:
    """What the strategy trades with; None where nothing was ever activated."""
    rows = await connection.execute(
        select(activation_rows)
        .where(activation_rows.c.strategy_id == strategy_id)
        .order_by(activation_rows.c.epoch.desc())
        .limit(1)
    )
    row = rows.mappings().first()
    return msgspec.convert(row, Active) if row else None


async def versions(
    connection: AsyncConnection,
    *,
    strategy_id: str | None = None,
    is_active: bool | None = None,
    limit: int = 100,
    offset: int = 0,
) -> tuple[list[ModelVersion], int]:
    """A page of versions, the newest training first, and how many there are in all."""
    wanted: list[ColumnElement[bool]] = []
    if strategy_id is not None:
        wanted.append(_of_strategy(strategy_id))
    if is_active is not None:
        wanted.append(model_versions.c.is_active.is_(is_active))
    total = await connection.scalar(select(func.count()).select_from(model_versions).where(*wanted))
    rows = await connection.execute(
        select(model_versions)
        .where(*wanted)
        .order_by(model_versions.c.trained_at.desc(), model_versions.c.id)
        .limit(limit)
        .offset(offset)
    )
    return [_version_of(row) for row in rows.mappings()], total or 0


async def find(connection: AsyncConnection, version: str) -> ModelVersion | None:
    """The version of that name."""
    rows = await connection.execute(select(model_versions).where(model_versions.c.version == version))
    row = rows.mappings().first()
    return _version_of(row) if row else None


async def has_servable(connection: AsyncConnection, strategy_id: str) -> bool:
    """Whether the strategy has a version that could be served, active or not."""
    found = await connection.scalar(
        select(model_versions.c.id)
        .where(_of_strategy(strategy_id), model_versions.c.sha256.is_not(None))
        .limit(1)
    )
    return found is not None


def has_files() -> ColumnElement[bool]:
    """Versions whose files lie where they were written; `evidence.files` says what became of others."""
    fate: ColumnElement[str] = model_versions.c.evidence["files"].astext
    return or_(fate.is_(None), fate == "restored")


async def names(connection: AsyncConnection) -> set[str]:
    """Every version's name."""
    return set(await connection.scalars(select(model_versions.c.version)))


async def metrics_of(
    connection: AsyncConnection,
    version: str,
    *,
    metric_type: str | None = None,
    metric_name: str | None = None,
    dataset_split: str | None = None,
) -> list[Metric]:
    """The figures of a version, by split and name; empty for an unknown version."""
    metrics = model_quality_metrics.c
    split = metrics.metadata["dataset_split"].astext
    wanted = [model_versions.c.version == version]
    wanted += [
        column == value
        for column, value in (
            (metrics.metric_type, metric_type),
            (metrics.metric_name, metric_name),
            (split, dataset_split),
        )
        if value is not None
    ]
    rows = await connection.execute(
        select(model_quality_metrics)
        .join(model_versions, model_versions.c.id == metrics.model_version_id)
        .where(*wanted)
        .order_by(split, metrics.metric_name, metrics.evaluated_at)
    )
    return [_metric_of(row) for row in rows.mappings()]


async def activations(
    connection: AsyncConnection, strategy_id: str, limit: int | None = 50
) -> list[Activation]:
    """The strategy's history, the newest entry first; limit None: all of it."""
    rows = await connection.execute(
        select(activation_rows)
        .where(activation_rows.c.strategy_id == strategy_id)
        .order_by(activation_rows.c.epoch.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, Activation) for row in rows.mappings()]


def earlier_version(history: Sequence[Activation]) -> str | None:
    """What rolling back goes to, `history` oldest first: never forward to what was just left."""
    way: list[str] = []
    for entry in history:
        if entry.version in way:
            del way[way.index(entry.version) + 1 :]
        elif entry.version is not None:
            way.append(entry.version)
    if history and history[-1].version is not None:
        way.pop()
    return way[-1] if way else None


def announced(active: Active, trace_id: str) -> VersionActivated:
    """What inference is told of the activation."""
    return VersionActivated(
        strategy_id=active.strategy_id,
        version=active.version,
        epoch=active.epoch,
        sha256=active.sha256,
        activated_at=active.activated_at.astimezone(UTC),
        trace_id=trace_id,
    )


async def _begin_epoch(
    connection: AsyncConnection,
    strategy_id: str,
    *,
    version: str | None,
    sha256: str | None,
    actor: str,
    reason: str,
    expected_epoch: int | None,
) -> Active:
    current = await active_for(connection, strategy_id)
    epoch = current.epoch if current else 0
    if expected_epoch is not None and expected_epoch != epoch:
        raise Conflict(f"strategy {strategy_id} stands at epoch {epoch}, not {expected_epoch}")
    # The primary key is the lock: who comes second waits here for the first one's commit, and then conflicts.
    inserted = await connection.execute(
        insert(activation_rows)
        .values(
            strategy_id=strategy_id,
            epoch=epoch + 1,
            version=version,
            sha256=sha256,
            actor=actor,
            reason=reason,
        )
        .on_conflict_do_nothing(index_elements=["strategy_id", "epoch"])
        .returning(activation_rows)
    )
    row = inserted.mappings().first()
    if row is None:
        raise Conflict(f"strategy {strategy_id} was changed by somebody else at the same time")
    await connection.execute(
        _mirrored(is_active=False).where(_of_strategy(strategy_id), model_versions.c.is_active)
    )
    return msgspec.convert(row, Active)


def _mirrored(*, is_active: bool) -> Any:
    return update(model_versions).values(is_active=is_active, updated_at=func.now())


def _of_strategy(strategy_id: str) -> ColumnElement[bool]:
    named = model_versions.c.strategy_id == strategy_id
    return or_(named, model_versions.c.strategy_id.is_(None)) if strategy_id == DEFAULT_STRATEGY else named


def _check(version: str, metrics: Sequence[NewMetric]) -> None:
    for metric in metrics:
        if reason := unholdable(metric):
            raise Unusable(f"version {version}: {reason}")


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


def _version_of(row: RowMapping) -> ModelVersion:
    moments = {name: row[name].replace(tzinfo=UTC) for name in ("trained_at", "created_at", "updated_at")}
    changed = {**moments, "strategy_id": row["strategy_id"] or DEFAULT_STRATEGY}
    return msgspec.convert({**_plain(row), **changed}, ModelVersion)


def _metric_of(row: RowMapping) -> Metric:
    changed = {
        "metric_value": float(row["metric_value"]),
        "evaluated_at": row["evaluated_at"].replace(tzinfo=UTC),
    }
    return msgspec.convert({**_plain(row), **changed}, Metric)


# SQLAlchemy's column keys are a kind of str that msgspec does not take for one.
def _plain(row: RowMapping) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}
