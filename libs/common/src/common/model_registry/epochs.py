"""Epochs: which version a strategy trades with, since when, and who decided so.

The newest epoch of a strategy in `activations` is the truth; `model_versions.is_active` mirrors it in the
same transaction. An activation is a compare-and-set on the epoch: of several at once one wins, the others
get Conflict.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.errors import Conflict, NotFound
from common.messages import VersionActivated
from common.model_registry.registered import find, has_files, of_strategy
from common.tables import activations as activation_rows
from common.tables import model_versions


class Moved(Conflict):
    """Somebody else changed what the strategy trades with: look how it stands, then ask again."""


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
    hash or whose files are not kept any more. Raises Moved, with nothing written, where the strategy's epoch
    is not `expected_epoch` (0: never activated) or moved meanwhile.
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
    connection: AsyncConnection,
    strategy_id: str,
    *,
    actor: str,
    reason: str,
    to: str | None = None,
    expected_epoch: int | None = None,
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
        expected_epoch=len(history) and history[-1].epoch if expected_epoch is None else expected_epoch,
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


async def active_of(connection: AsyncConnection, strategies: Iterable[str]) -> dict[str, Active]:
    """What each of the strategies trades with; without those that nothing was ever activated for."""
    rows = await connection.execute(
        select(activation_rows)
        .ext(distinct_on(activation_rows.c.strategy_id))
        .where(activation_rows.c.strategy_id.in_(list(strategies)))
        .order_by(activation_rows.c.strategy_id, activation_rows.c.epoch.desc())
    )
    return {row["strategy_id"]: msgspec.convert(row, Active) for row in rows.mappings()}


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
        raise Moved(f"strategy {strategy_id} stands at epoch {epoch}, not {expected_epoch}")
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
        raise Moved(f"strategy {strategy_id} was changed by somebody else at the same time")
    await connection.execute(
        _mirrored(is_active=False).where(of_strategy(strategy_id), model_versions.c.is_active)
    )
    return msgspec.convert(row, Active)


def _mirrored(*, is_active: bool) -> Any:
    return update(model_versions).values(is_active=is_active, updated_at=func.now())
