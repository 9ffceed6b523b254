"""The fleet-wide ledger of what was emitted, and the one short transaction that adds to it.

Decisions are stateless; only emission is ordered. `emitting` locks one row for the whole fleet, reads the
ledger under that lock, and whoever holds it decides again: so rate limit, reservations, "newest wins" and
"one warm-up signal a slot" hold for any number of replicas.
"""

import functools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    ScalarSelect,
    Select,
    Subquery,
    and_,
    bindparam,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.core import rate_limit
from common.core.rate_limit import Bucket
from common.core.trading_state import scope_of
from common.tables import (
    emission_fences,
    instrument_info,
    orders,
    position_lifecycles,
    rate_limits,
    signal_outbox,
    warmup_slots,
)
from inference.core.case import Case, LastSignal, Ledger, Limits
from inference.situation import QUOTE_COIN, states_of

SCOPE = "entries"
"""The fleet's token bucket."""
_HOUR = timedelta(hours=1)
_LATE_ORDERS = timedelta(minutes=1)
"""An order may appear so long after its signal: the Order Manager works off what it holds."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What an emission is about."""

    strategy_id: str
    symbol: str
    signal_id: UUID
    warmup_slot: datetime | None
    """None: not a warm-up signal, no slot is needed."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """When the balances that a decision uses were received: later spending is reserved. None: not used."""

    balance_at: datetime | None
    margin_at: datetime | None


async def read_ledger(
    connection: AsyncConnection, key: Key, limits: Limits, now: datetime, received: Received
) -> tuple[Ledger, Mapping[str, str] | None]:
    """The ledger at this moment, and the trading states stored beside it (for `situation.state_from`).

    Without the lock somebody may add to either right after.
    """
    row = (await connection.execute(_ledger(), _asked(key, limits, now, received))).one()
    bucket = (
        rate_limit.full(limits.rate, now)
        if row.refilled_at is None
        else Bucket(tokens=row.tokens, refilled_at=row.refilled_at)
    )
    last = (
        None
        if row.last_signal_id is None
        else LastSignal(
            signal_id=row.last_signal_id, created_at=row.last_created_at, order_status=row.order_status
        )
    )
    ledger = Ledger(
        claimed=row.claimed,
        newest_emitted=row.newest,
        last_signal=last,
        exit_latched=row.exit_latched,
        reserved_quote=Decimal(row.reserved),
        reserved_margin_quote=Decimal(row.reserved_margin),
        hourly_notional=Decimal(row.hourly),
        bucket=bucket,
        warmup_slot_taken=row.slot_taken,
    )
    return ledger, row.states


@asynccontextmanager
async def emitting(engine: AsyncEngine, limits: Limits, now: datetime) -> AsyncIterator[AsyncConnection]:
    """A transaction that holds the fleet's emission lock until it ends."""
    lock = select(rate_limits.c.scope).where(rate_limits.c.scope == SCOPE).with_for_update()
    async with engine.begin() as connection:
        if (await connection.execute(lock)).first() is None:
            await connection.execute(
                insert(rate_limits)
                .values(scope=SCOPE, tokens=limits.rate.burst, refilled_at=now)
                .on_conflict_do_nothing(index_elements=["scope"])
            )
            await connection.execute(lock)
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


# Built once: to build it costs more than to run it, and it runs under the fleet's lock.
@functools.cache
def _ledger() -> Select[Any]:
    symbol: BindParameter[str] = bindparam("symbol")
    fence = and_(
        emission_fences.c.strategy_id == bindparam("strategy_id"), emission_fences.c.symbol == symbol
    )
    latched = and_(
        position_lifecycles.c.symbol == symbol,
        position_lifecycles.c.closed_at.is_(None),
        position_lifecycles.c.latched_rule.is_not(None),
    )
    newest = select(emission_fences.c.newest_feature_timestamp).where(fence).scalar_subquery()
    one = select(
        exists().where(signal_outbox.c.signal_id == bindparam("signal_id")).label("claimed"),
        newest.label("newest"),
        exists().where(warmup_slots.c.slot == bindparam("warmup_slot")).label("slot_taken"),
        exists().where(latched).label("exit_latched"),
        _notional_since(bindparam("an_hour_ago")).label("hourly"),
        states_of(bindparam("strategy_scope")).label("states"),
    ).subquery()
    bucket = (
        select(rate_limits.c.tokens, rate_limits.c.refilled_at).where(rate_limits.c.scope == SCOPE).subquery()
    )
    last, spent = _last_signal(symbol), _spent(symbol)
    joined = one.join(spent, true()).outerjoin(bucket, true()).outerjoin(last, true())
    return select(one, spent, bucket, last).select_from(joined)


def _asked(key: Key, limits: Limits, now: datetime, received: Received) -> dict[str, Any]:
    in_flight = timedelta(seconds=limits.in_flight_timeout_s + limits.validity_s)
    balance_at, margin_at = received.balance_at or now, received.margin_at or now
    return {
        "strategy_id": key.strategy_id,
        "strategy_scope": scope_of(key.strategy_id),
        "symbol": key.symbol,
        "signal_id": key.signal_id,
        "warmup_slot": key.warmup_slot,
        "an_hour_ago": now - _HOUR,
        "unanswered_since": now - in_flight,
        # An older balance is not used at all, so spending before it need not be known.
        "hidden_since": now - timedelta(seconds=limits.balance_max_age_s) - in_flight - _LATE_ORDERS,
        "balance_at": balance_at,
        "balance_at_naive": _naive(balance_at),
        "margin_at": margin_at,
        "margin_at_naive": _naive(margin_at),
    }


def _last_signal(symbol: BindParameter[Any]) -> Subquery:
    newest = (
        select(signal_outbox.c.signal_id, signal_outbox.c.created_at)
        .where(signal_outbox.c.symbol == symbol, signal_outbox.c.state != "expired")
        .order_by(signal_outbox.c.created_at.desc())
        .limit(1)
        .subquery()
    )
    # A rejected signal may be tried again under its id: the newest of its orders tells.
    return (
        select(
            newest.c.signal_id.label("last_signal_id"),
            newest.c.created_at.label("last_created_at"),
            orders.c.status.label("order_status"),
        )
        .outerjoin_from(newest, orders, orders.c.signal_id == newest.c.signal_id)
        .order_by(orders.c.created_at.desc().nulls_last())
        .limit(1)
        .subquery()
    )


# What a balance does not show yet: signals without an order so far, or placed after it was received.
def _spent(symbol: BindParameter[Any]) -> Subquery:
    unanswered = and_(
        orders.c.signal_id.is_(None), signal_outbox.c.created_at > bindparam("unanswered_since")
    )
    gave_nothing = or_(
        orders.c.status == "rejected", and_(orders.c.status == "cancelled", orders.c.filled_quantity == 0)
    )

    def is_hidden_from(balance: str) -> ColumnElement[bool]:
        placed_later = orders.c.created_at > bindparam(f"{balance}_at_naive")
        return or_(unanswered, signal_outbox.c.created_at > bindparam(f"{balance}_at"), placed_later)

    own, other = instrument_info.alias(), instrument_info.alias()
    coin = select(own.c.quote_coin).where(own.c.symbol == symbol).scalar_subquery()
    of_coin = func.coalesce(other.c.quote_coin, QUOTE_COIN) == func.coalesce(coin, QUOTE_COIN)
    total = func.sum(signal_outbox.c.amount_quote)
    buys = and_(signal_outbox.c.side == "buy", of_coin, is_hidden_from("balance"))
    nothing = literal(Decimal(0))
    return (
        select(
            func.coalesce(total.filter(buys), nothing).label("reserved"),
            func.coalesce(total.filter(is_hidden_from("margin")), nothing).label("reserved_margin"),
        )
        .select_from(
            signal_outbox.outerjoin(orders, orders.c.signal_id == signal_outbox.c.signal_id).outerjoin(
                other, other.c.symbol == signal_outbox.c.symbol
            )
        )
        .where(
            signal_outbox.c.state != "expired",
            signal_outbox.c.created_at > bindparam("hidden_since"),
            func.coalesce(not_(gave_nothing), true()),
        )
        .subquery()
    )


def _notional_since(since: BindParameter[Any]) -> ScalarSelect[Decimal]:
    return (
        select(func.coalesce(func.sum(signal_outbox.c.amount_quote), literal(Decimal(0))))
        .where(
            signal_outbox.c.kind == "entry",
            signal_outbox.c.state != "expired",
            signal_outbox.c.created_at > since,
        )
        .scalar_subquery()
    )


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)
