"""Which versions are registered, what is known of each, and whether it could be served."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.database import naive_utc
from common.model_registry import quality
from common.model_registry.quality import NewMetric
from common.tables import model_version_numbers, model_versions

DEFAULT_STRATEGY = "default"
"""How a version without a strategy is read."""

Verdict = Literal["accepted", "refused", "insufficient_evidence", "quarantined"]

Sort = Literal["-trained_at", "trained_at", "-created_at", "created_at", "-version", "version"]
"""By which a list of versions is ordered; a minus sign: the greatest first."""

_kept = model_versions.c
# Not bound values: an index over the expression would serve no prepared statement.
_NUMBER: ColumnElement[Any] = literal_column("string_to_array(substr(version, 2), '.')::numeric[]")
_ORDERS: dict[str, ColumnElement[Any]] = {
    "trained_at": _kept.trained_at,
    "created_at": _kept.created_at,
    "version": _NUMBER,
}
_LISTED: tuple[ColumnElement[Any], ...] = (
    _kept.id,
    _kept.version,
    _kept.file_path,
    _kept.model_type,
    func.coalesce(_kept.strategy_id, DEFAULT_STRATEGY).label("strategy_id"),
    func.timezone("UTC", _kept.trained_at).label("trained_at"),
    _kept.training_duration_seconds,
    _kept.training_dataset_size,
    _kept.training_config,
    _kept.is_active,
    _kept.is_warmup_mode,
    func.timezone("UTC", _kept.created_at).label("created_at"),
    func.timezone("UTC", _kept.updated_at).label("updated_at"),
    _kept.verdict,
)
_ALL = (*_LISTED, _kept.sha256, _kept.run_id, _kept.verdict_sentence, _kept.evidence)


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


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A registered version. Null fields are those of rows that the platform's older service wrote."""

    id: UUID
    version: str
    file_path: str
    """Logical, `/models/v{n}`: readers resolve it against MODEL_STORAGE_PATH."""
    model_type: str
    strategy_id: str
    trained_at: datetime
    """When its training ended."""
    training_duration_seconds: int | None
    """From the first step to the registration."""
    training_dataset_size: int | None
    """Rows of train."""
    training_config: dict[str, Any] | None
    """Recipe, parameters, features and dataset."""
    is_active: bool
    """Its strategy trades with it."""
    is_warmup_mode: bool
    """A mark of the platform's older service; false on versions of ours."""
    created_at: datetime
    updated_at: datetime
    verdict: Verdict | None
    """Null: trained before verdicts were kept."""


class ModelVersion(Version, frozen=True, kw_only=True):
    """A registered version with everything that its row says."""

    sha256: str | None
    """Of its manifest; null: it cannot be served."""
    run_id: UUID | None
    """The training that it came of."""
    verdict_sentence: str | None
    evidence: dict[str, Any] | None
    """The figures behind the verdict."""


async def next_version(connection: AsyncConnection) -> str:
    """A version name that was never given before; it stays given when the transaction fails."""
    return f"v{await connection.scalar(model_version_numbers.next_value())}"


async def add(connection: AsyncConnection, new: NewVersion, metrics: Sequence[NewMetric]) -> ModelVersion:
    """The version is registered with its metrics, not active.

    Raises Unusable for a metric that the table cannot hold.
    """
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
        .returning(*_ALL)
    )
    version = msgspec.convert(inserted.mappings().one(), ModelVersion)
    await quality.store(connection, new.version, version.id, metrics)
    return version


async def find(connection: AsyncConnection, version: str) -> ModelVersion | None:
    """The version of that name."""
    rows = await connection.execute(select(*_ALL).where(model_versions.c.version == version))
    row = rows.mappings().first()
    return msgspec.convert(row, ModelVersion) if row else None


async def versions(
    connection: AsyncConnection,
    *,
    strategy_id: str | None = None,
    is_active: bool | None = None,
    model_type: str | None = None,
    sort: Sort = "-trained_at",
    limit: int = 100,
    offset: int = 0,
) -> tuple[list[Version], int]:
    """A page of versions, and how many there are in all; by version is by number, v10 after v9."""
    filters = {"strategy": strategy_id, "active": is_active, "type": model_type}
    given = {name: value for name, value in filters.items() if value is not None}
    page, counted = _listing(sort, frozenset(given), strategy_id == DEFAULT_STRATEGY)
    rows = await connection.execute(page, {**given, "most": limit, "skipped": offset})
    found = rows.mappings().all()
    if not found and offset:  # beyond the end
        return [], await connection.scalar(counted, given) or 0
    return [msgspec.convert(row, Version) for row in found], found[0]["total"] if found else 0


# Built once: that takes longer than the answer.
@cache
def _listing(
    sort: Sort, filters: frozenset[str], or_nobodys: bool
) -> tuple[Select[*tuple[Any, ...]], Select[int]]:
    named = _kept.strategy_id == bindparam("strategy")
    conditions: dict[str, ColumnElement[bool]] = {
        "strategy": or_(named, _kept.strategy_id.is_(None)) if or_nobodys else named,
        "active": _kept.is_active == bindparam("active"),
        "type": _kept.model_type == bindparam("type"),
    }
    wanted = [conditions[name] for name in sorted(filters)]
    by = _ORDERS[sort.removeprefix("-")]
    counted = select(func.count()).select_from(model_versions).where(*wanted)
    page = (
        select(*_LISTED, counted.scalar_subquery().label("total"))
        .where(*wanted)
        .order_by(by.desc() if sort.startswith("-") else by.asc(), _kept.id)
        .limit(bindparam("most", type_=BigInteger))
        .offset(bindparam("skipped", type_=BigInteger))
    )
    return page, counted


async def has_servable(connection: AsyncConnection, strategy_id: str) -> bool:
    """Whether the strategy has a version that could be served, active or not."""
    found = await connection.scalar(
        select(model_versions.c.id)
        .where(of_strategy(strategy_id), model_versions.c.sha256.is_not(None))
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


def of_strategy(strategy_id: str) -> ColumnElement[bool]:
    """Versions of the strategy."""
    named = model_versions.c.strategy_id == strategy_id
    return or_(named, model_versions.c.strategy_id.is_(None)) if strategy_id == DEFAULT_STRATEGY else named
