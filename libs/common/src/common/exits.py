"""Positions being closed: a lifecycle's row under its lock, and the one claim of an exit.

Whoever decides, the exit worker, its peers or inference, comes through `issue`: state and intent are one
commit, the outbox's key lets one claim win, and the latch in the locked row stops a second rule beside it.
Every function takes the caller's transaction.
"""

import functools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Select, String, Update, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from common import tracing
from common.core.exits.dispatch import Done, Issue, Limits, Wait, dispatch
from common.core.exits.exit_signal import exit_signal
from common.core.exits.holds import Hold
from common.core.exits.position import Tracked, Verdict
from common.core.exits.rules import Rules
from common.exit_traffic import situation, with_books
from common.messages import TradingSignal
from common.signal_outbox import Claim, SignalOutbox
from common.tables import position_lifecycles

VALIDITY_MARGIN = timedelta(seconds=2)
"""An exit has expired in the broker for so long before the next generation exists."""

_FIXED = {"lifecycle_id", "symbol", "side", "opened_at", "strategy_id"}
_ASKED = {"close_requested_at", "close_actor", "close_reason"}
"""The operator's to write."""


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """An exit that was decided and stands in the outbox."""

    issue: Issue
    signal: TradingSignal
    claim: Claim | None
    """None: somebody else claimed the same exit first."""


async def locked(connection: AsyncConnection, symbol: str) -> Tracked | None:
    """The open lifecycle of `symbol`, nobody else's to change until the transaction ends."""
    rows = await connection.execute(_open_lifecycle(), {"symbol": symbol})
    row = rows.mappings().first()
    return None if row is None else msgspec.convert(row, Tracked)


async def locked_of(connection: AsyncConnection, symbols: Sequence[str]) -> list[Tracked]:
    """The open lifecycles of `symbols` that nobody else holds, nobody else's until the transaction ends."""
    rows = await connection.execute(_free_lifecycles(), {"symbols": symbols})
    return [msgspec.convert(row, Tracked) for row in rows.mappings()]


async def save(connection: AsyncConnection, *tracked: Tracked) -> None:
    """The rows show `tracked`; the caller holds their locks."""
    await connection.execute(_lifecycle_update(), [_row_of(each) for each in tracked])


async def confirmed(connection: AsyncConnection, lifecycle_id: UUID) -> None:
    """The broker has taken an exit of the lifecycle: its cooldown begins."""
    await connection.execute(
        update(position_lifecycles)
        .where(position_lifecycles.c.lifecycle_id == lifecycle_id)
        .values(last_exit_at=func.now())
    )


async def issue(
    connection: AsyncConnection,
    outbox: SignalOutbox,
    tracked: Tracked,
    *,
    rules: Rules,
    limits: Limits,
    verdicts: tuple[Verdict, ...],
    now: datetime,
) -> Issued | Wait | Done:
    """What the latched rule of `tracked` may send now is claimed and the row says so, or why it waits.

    The caller holds the row's lock, and publishes the claim after its commit. Where something waits the row
    is left as it is. Done: the latch is open again.
    """
    met = await situation(connection, tracked.symbol)
    if met.is_halted:
        return Wait(reason=Hold.EXITS_HALTED)
    outcome = dispatch(
        tracked,
        rules,
        await with_books(connection, met.traffic, tracked, limits),
        instrument=met.instrument,
        limits=limits,
        now=now,
    )
    if isinstance(outcome, Wait):
        return outcome
    if isinstance(outcome, Done):
        finished = msgspec.structs.replace(tracked, latched_rule=None, latched_at=None, exit_signal_id=None)
        await save(connection, finished)
        return outcome
    signal = exit_signal(tracked, outcome, verdicts, now, tracing.current())
    claim = await outbox.claim(
        connection,
        signal,
        kind="exit",
        feature_timestamp=tracked.last_evaluated_at,
        valid_until=now + limits.reissue - VALIDITY_MARGIN,
    )
    issued = msgspec.structs.replace(
        tracked,
        generation=outcome.generation,
        exit_signal_id=signal.signal_id,
        refusals=outcome.refusals,
    )
    await save(connection, issued)
    return Issued(issue=outcome, signal=signal, claim=claim)


def _row_of(tracked: Tracked) -> dict[str, object]:
    values = msgspec.structs.asdict(tracked)
    for name in _ASKED | _FIXED:
        del values[name]
    return {**values, "verdicts": msgspec.to_builtins(tracked.verdicts), "of": tracked.lifecycle_id}


# Questions that are asked for every exit are put together once.
@functools.cache
def _open_lifecycle() -> Select[Any]:
    return (
        select(position_lifecycles)
        .where(position_lifecycles.c.symbol == bindparam("symbol"), position_lifecycles.c.closed_at.is_(None))
        .with_for_update(key_share=True)
    )


@functools.cache
def _free_lifecycles() -> Select[Any]:
    return (
        select(position_lifecycles)
        .where(
            position_lifecycles.c.symbol == func.any(bindparam("symbols", type_=ARRAY(String))),
            position_lifecycles.c.closed_at.is_(None),
        )
        .with_for_update(key_share=True, skip_locked=True)
    )


@functools.cache
def _lifecycle_update() -> Update:
    return update(position_lifecycles).where(position_lifecycles.c.lifecycle_id == bindparam("of"))
