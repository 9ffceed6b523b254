"""What the database says of orders and books: read for a booking, written with it in one transaction."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID, uuid5

import msgspec
from sqlalchemy import ColumnElement, exists, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.ids import NAMESPACE
from common.tables import (
    booked_orders,
    execution_events,
    fill_books,
    invalid_executions,
    orders,
    trading_signals,
)
from trainer.core.execution_rules import Booked, Executed, SentSignal
from trainer.core.fifo import Fill

Source = Literal["orders", "queue"]

PAGE = 500
"""Orders read at a time."""
READ_TIMEOUT_MS = 5_000
"""Longest read of `orders`: it is not ours to index."""

_EXECUTED: tuple[ColumnElement[bool], ...] = (
    orders.c.is_dry_run.is_(False),
    (orders.c.filled_quantity != 0) | (orders.c.status == "filled"),
)


async def newest_booked(connection: AsyncConnection) -> datetime | None:
    """When the newest order of the books was updated; None: nothing is booked yet."""
    newest: datetime | None = await connection.scalar(select(func.max(booked_orders.c.order_updated_at)))
    return newest


async def unbooked(
    connection: AsyncConnection, *, since: datetime | None, after: tuple[datetime, str] | None
) -> list[dict[str, Any]]:
    """A page of orders of ours that have executed more than is booked, in the order of their placing.

    `since` leaves out what was not updated since then (naive UTC); `after` is the place of the last row seen.
    """
    await connection.execute(text(f"SET LOCAL statement_timeout = {READ_TIMEOUT_MS}"))
    place = tuple_(orders.c.created_at, orders.c.order_id)
    question = (
        select(orders)
        .join(trading_signals, trading_signals.c.signal_id == orders.c.signal_id)
        .outerjoin(booked_orders, booked_orders.c.order_id == orders.c.order_id)
        .where(
            *_EXECUTED,
            booked_orders.c.order_id.is_(None) | (booked_orders.c.filled_quantity < orders.c.filled_quantity),
        )
        .order_by(place)
        .limit(PAGE)
    )
    if since is not None:
        question = question.where(orders.c.updated_at >= since)
    if after is not None:
        question = question.where(place > tuple_(*after))
    rows = (await connection.execute(question)).mappings()
    return [{str(name): value for name, value in row.items()} for row in rows]  # its names are no plain str


async def foreign(connection: AsyncConnection, *, since: datetime | None) -> int:
    """Executed orders that no signal of ours asked for, among those updated since `since` (naive UTC)."""
    await connection.execute(text(f"SET LOCAL statement_timeout = {READ_TIMEOUT_MS}"))
    ours = exists().where(trading_signals.c.signal_id == orders.c.signal_id)
    question = select(func.count()).select_from(orders).where(*_EXECUTED, ~ours)
    if since is not None:
        question = question.where(orders.c.updated_at >= since)
    return (await connection.execute(question)).scalar_one()


async def sent_signal(connection: AsyncConnection, signal_id: UUID) -> SentSignal | None:
    """The signal, if it is one of ours."""
    signals = trading_signals.c
    rows = await connection.execute(
        select(
            signals.signal_id,
            signals.strategy_id,
            signals.asset.label("symbol"),
            signals.side,
            signals.price,
            func.timezone("UTC", signals.timestamp).label("timestamp"),
            func.coalesce(signals.metadata["reduce_only"].as_boolean(), False).label("reduces_only"),
            signals.trace_id,
        ).where(signals.signal_id == signal_id)
    )
    row = rows.mappings().first()
    return msgspec.convert(row, SentSignal) if row else None


async def locked_book(connection: AsyncConnection, signal: SentSignal) -> tuple[Fill, ...]:
    """The open lots of the signal's strategy and symbol; nobody else books there until the commit."""
    key = {"strategy_id": signal.strategy_id, "symbol": signal.symbol}
    await connection.execute(insert(fill_books).values(**key, lots=[]).on_conflict_do_nothing())
    lots = await connection.scalar(select(fill_books.c.lots).where(_is_book(signal)).with_for_update())
    return msgspec.convert(lots, tuple[Fill, ...])


async def booked_of(connection: AsyncConnection, order_id: str) -> Booked | None:
    """How much of the order is booked; None: nothing."""
    rows = await connection.execute(
        select(
            booked_orders.c.filled_quantity.label("quantity"),
            booked_orders.c.filled_value.label("value"),
            booked_orders.c.fees,
        ).where(booked_orders.c.order_id == order_id)
    )
    row = rows.mappings().first()
    return msgspec.convert(row, Booked) if row else None


async def is_recorded_by_others(connection: AsyncConnection, signal_id: UUID) -> bool:
    """Whether the platform's older service stored executions of the signal: they are not stored twice."""
    events = execution_events.c
    theirs = exists().where(events.signal_id == signal_id, ~events.performance.has_key("order_id"))
    return bool(await connection.scalar(select(theirs)))


async def mark_booked(
    connection: AsyncConnection, signal: SentSignal, done: Executed, fees: Decimal, lots: tuple[Fill, ...]
) -> None:
    """All of `done`, and `fees` of it, counts as booked; the book holds `lots`."""
    new = insert(booked_orders).values(
        order_id=done.order_id,
        signal_id=signal.signal_id,
        filled_quantity=done.quantity,
        filled_value=done.value,
        fees=fees,
        order_updated_at=done.updated_at,
    )
    changed = {
        name: new.excluded[name] for name in ("filled_quantity", "filled_value", "fees", "order_updated_at")
    }
    await connection.execute(
        new.on_conflict_do_update(index_elements=["order_id"], set_={**changed, "booked_at": func.now()})
    )
    await connection.execute(
        fill_books.update()
        .where(_is_book(signal))
        .values(lots=msgspec.to_builtins(lots), fills=fill_books.c.fills + 1, updated_at=func.now())
    )


async def keep_invalid(
    connection: AsyncConnection, source: Source, told: Mapping[str, Any], reason: str
) -> bool:
    """The execution lies among the invalid ones, once, with its reason; True where it is new."""
    body = _storable(told)
    named = body.get("order_id")
    order_id = named[:100] if isinstance(named, str) else None
    subject = order_id or msgspec.json.encode(body).decode()
    inserted = await connection.execute(
        insert(invalid_executions)
        .values(
            execution_id=uuid5(NAMESPACE, f"invalid {source} {reason} {subject}"),
            source=source,
            order_id=order_id,
            reason=reason,
            body=body,
        )
        .on_conflict_do_nothing(index_elements=["execution_id"])
    )
    return inserted.rowcount > 0


def _is_book(signal: SentSignal) -> ColumnElement[bool]:
    return (fill_books.c.strategy_id == signal.strategy_id) & (fill_books.c.symbol == signal.symbol)


def _storable(told: Mapping[str, Any]) -> dict[str, Any]:
    # PostgreSQL stores neither NUL nor NaN in JSON.
    text_ = msgspec.json.encode(told).replace(rb"\u0000", rb"\ufffd")
    body: dict[str, Any] = msgspec.json.decode(text_)
    return body
