"""The fleet-wide ledger of what was emitted, and the one short transaction that adds to it.

Decisions are stateless; only emission is ordered. `emitting` locks one row for the whole fleet, reads the
ledger under that lock, and whoever holds it decides again: so rate limit, reservations, "newest wins" and
"one warm-up signal a slot" hold for any number of replicas.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
from sqlalchemy import ScalarSelect, and_, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.core import rate_limit
from common.core.rate_limit import Bucket
from common.tables import emission_fences, orders, rate_limits, signal_outbox, warmup_slots
from inference.core.case import Case, LastSignal, Ledger, Limits

SCOPE = "entries"
"""The fleet's token bucket."""
_HOUR = timedelta(hours=1)
_ANSWERED_WITHOUT_SPENDING = ("rejected", "cancelled")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What an emission is about."""

    strategy_id: str
    symbol: str
    signal_id: UUID
    warmup_slot: datetime | None
    """None: not a warm-up signal, no slot is needed."""


async def read_ledger(
    connection: AsyncConnection, key: Key, limits: Limits, now: datetime, balance_at: datetime | None
) -> Ledger:
    """The ledger at this moment; without the lock somebody may add to it right after.

    `balance_at`: when the balance that the decision uses was received; later spending is reserved.
    """
    fence = and_(emission_fences.c.strategy_id == key.strategy_id, emission_fences.c.symbol == key.symbol)
    row = (
        await connection.execute(
            select(
                exists().where(signal_outbox.c.signal_id == key.signal_id).label("claimed"),
                select(emission_fences.c.newest_feature_timestamp)
                .where(fence)
                .scalar_subquery()
                .label("newest"),
                exists().where(warmup_slots.c.slot == key.warmup_slot).label("slot_taken"),
                _reserved(balance_at, now, limits).label("reserved"),
                _notional_since(now - _HOUR).label("hourly"),
            )
        )
    ).one()
    return Ledger(
        claimed=row.claimed,
        newest_emitted=row.newest,
        last_signal=await _last_signal(connection, key.symbol),
        reserved_quote=Decimal(row.reserved),
        hourly_notional=Decimal(row.hourly),
        bucket=await _bucket(connection) or rate_limit.full(limits.rate, now),
        warmup_slot_taken=row.slot_taken,
    )


@asynccontextmanager
async def emitting(engine: AsyncEngine, limits: Limits, now: datetime) -> AsyncIterator[AsyncConnection]:
    """A transaction that holds the fleet's emission lock until it ends."""
    async with engine.begin() as connection:
        await connection.execute(
            insert(rate_limits)
            .values(scope=SCOPE, tokens=limits.rate.burst, refilled_at=now)
            .on_conflict_do_nothing(index_elements=["scope"])
        )
        await connection.execute(
            select(rate_limits.c.scope).where(rate_limits.c.scope == SCOPE).with_for_update()
        )
        yield connection


async def enter(connection: AsyncConnection, case: Case, warmup_slot: datetime | None) -> None:
    """The ledger shows the case's signal as emitted. The caller holds the lock of `emitting`."""
    await connection.execute(
        insert(emission_fences)
        .values(
            strategy_id=case.strategy_id,
            symbol=case.vector.symbol,
            newest_feature_timestamp=case.vector.timestamp,
            signal_id=case.signal_id,
            updated_at=func.now(),
        )
        .on_conflict_do_update(
            index_elements=["strategy_id", "symbol"],
            set_={
                "newest_feature_timestamp": case.vector.timestamp,
                "signal_id": case.signal_id,
                "updated_at": func.now(),
            },
        )
    )
    if warmup_slot is not None:
        await connection.execute(
            insert(warmup_slots).values(
                slot=warmup_slot,
                strategy_id=case.strategy_id,
                symbol=case.vector.symbol,
                signal_id=case.signal_id,
                claimed_at=func.now(),
            )
        )
    bucket = rate_limit.taken(rate_limit.refilled(case.ledger.bucket, case.limits.rate, case.now))
    await connection.execute(
        update(rate_limits)
        .where(rate_limits.c.scope == SCOPE)
        .values(tokens=bucket.tokens, refilled_at=bucket.refilled_at)
    )


async def _bucket(connection: AsyncConnection) -> Bucket | None:
    row = (
        await connection.execute(
            select(rate_limits.c.tokens, rate_limits.c.refilled_at).where(rate_limits.c.scope == SCOPE)
        )
    ).first()
    return None if row is None else Bucket(tokens=row.tokens, refilled_at=row.refilled_at)


async def _last_signal(connection: AsyncConnection, symbol: str) -> LastSignal | None:
    row = (
        await connection.execute(
            select(signal_outbox.c.signal_id, signal_outbox.c.created_at, orders.c.status)
            .outerjoin(orders, orders.c.signal_id == signal_outbox.c.signal_id)
            .where(signal_outbox.c.symbol == symbol, signal_outbox.c.state != "expired")
            .order_by(signal_outbox.c.created_at.desc(), orders.c.created_at.desc().nulls_last())
            .limit(1)
        )
    ).first()
    if row is None:
        return None
    return LastSignal(signal_id=row.signal_id, created_at=row.created_at, order_status=row.status)


# Buys that the balance does not show: not answered yet, or answered after the balance was received.
def _reserved(balance_at: datetime | None, now: datetime, limits: Limits) -> ScalarSelect[Decimal]:
    unanswered = and_(
        orders.c.signal_id.is_(None),
        signal_outbox.c.created_at > now - timedelta(seconds=limits.in_flight_timeout_s + limits.validity_s),
    )
    shown_later = signal_outbox.c.created_at > (balance_at or now)
    spends = or_(orders.c.status.is_(None), orders.c.status.not_in(_ANSWERED_WITHOUT_SPENDING))
    return (
        select(func.coalesce(func.sum(signal_outbox.c.amount_quote), literal(Decimal(0))))
        .select_from(signal_outbox.outerjoin(orders, orders.c.signal_id == signal_outbox.c.signal_id))
        .where(
            signal_outbox.c.side == "buy",
            signal_outbox.c.state != "expired",
            signal_outbox.c.created_at > now - _HOUR,
            spends,
            or_(unanswered, shown_later),
        )
        .scalar_subquery()
    )


def _notional_since(since: datetime) -> ScalarSelect[Decimal]:
    return (
        select(func.coalesce(func.sum(signal_outbox.c.amount_quote), literal(Decimal(0))))
        .where(
            signal_outbox.c.kind == "entry",
            signal_outbox.c.state != "expired",
            signal_outbox.c.created_at > since,
        )
        .scalar_subquery()
    )
