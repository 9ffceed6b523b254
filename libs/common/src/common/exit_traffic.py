"""What an exit has to wait for, as the database shows it: halts, steps, signals on their way, orders.

Read after a lifecycle's row was locked, never in one statement with it: joined to a row that it waits for, a
question would see everything else as it was before it waited. Every function takes the caller's transaction.
"""

import functools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    BindParameter,
    Row,
    Select,
    String,
    Uuid,
    and_,
    bindparam,
    cast,
    exists,
    func,
    literal_column,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.exits.dispatch import Answer, Flight, Instrument, Limits, Traffic
from common.core.exits.position import UNATTRIBUTED, Side, Tracked
from common.core.exits.rules import PACED
from common.core.trading_state import EXITS, TradingState
from common.tables import (
    instrument_info,
    orders,
    position_lifecycles,
    signal_outbox,
    trading_signals,
    trading_states,
)

ADOPTED_AFTER = timedelta(minutes=1)
"""A position that was opened so long before it was first seen is adopted: its size is the platform's word."""

_ANSWERS = {
    "filled": Answer.FILLED,
    "dry_run": Answer.FILLED,  # nothing will ever come of it, and nothing is gained by asking again
    "pending": Answer.RESTING,
    "partially_filled": Answer.RESTING,
    "rejected": Answer.REFUSED,
    "cancelled": Answer.REFUSED,
}
_NOTHING_FILLED = {"dry_run"}
_WEIGHT = {Answer.NONE: 0, Answer.REFUSED: 1, Answer.RESTING: 2, Answer.FILLED: 3}


# An exit that inference claimed may say less: then only a newer view of another size shows its fill.
class _Reasons(msgspec.Struct, frozen=True):
    rule: str = msgspec.field(name="exit_reason", default="")
    stage: int = 0
    live_size: Decimal = Decimal(0)
    entry_price: Decimal | None = None
    size_to_close: Decimal = Decimal(0)


class _Body(msgspec.Struct, frozen=True):
    metadata: _Reasons = _Reasons()


_decoder = msgspec.json.Decoder(_Body)


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What every exit of a symbol meets with."""

    is_halted: bool
    """An operator halted exits by name."""
    instrument: Instrument
    traffic: Traffic
    """Without what only some exits need to know, see `with_books`."""


async def situation(connection: AsyncConnection, symbol: str) -> Situation:
    """What exits of `symbol` meet with at this moment, in one question."""
    rows = (await connection.execute(_situation_of(), {"symbol": symbol})).all()
    exits = [row for row in rows if row.kind == "exit"]
    first = rows[0]
    return Situation(
        is_halted=first.is_halted,
        instrument=_instrument(first),
        traffic=Traffic(
            newest_exit=_flight(exits) if exits else None,
            newest_entry_at=next((row.sent_at for row in rows if row.kind == "entry"), None),
        ),
    )


async def with_books(
    connection: AsyncConnection, traffic: Traffic, tracked: Tracked, limits: Limits
) -> Traffic:
    """`traffic` with what our fills left of `tracked`, and, where its rule is paced, the exits that count."""
    is_paced = tracked.latched_rule in PACED and limits.rate_limit is not None
    return msgspec.structs.replace(
        traffic,
        published_exits=await _paced_exits(connection, tracked.symbol, limits) if is_paced else (),
        booked_size=await _booked_size(connection, tracked),
    )


async def instruments(connection: AsyncConnection) -> dict[str, Instrument]:
    """The exchange's steps of every symbol that it lists."""
    rows = await connection.execute(
        select(
            instrument_info.c.symbol,
            instrument_info.c.lot_size,
            instrument_info.c.min_order_qty,
            instrument_info.c.min_order_value,
        ).where(instrument_info.c.lot_size > 0)
    )
    return {row["symbol"]: msgspec.convert(row, Instrument) for row in rows.mappings()}


async def _paced_exits(connection: AsyncConnection, symbol: str, limits: Limits) -> tuple[datetime, ...]:
    rule = cast(signal_outbox.c.payload, JSONB)["metadata"]["exit_reason"].as_string()
    rows = await connection.scalars(
        select(signal_outbox.c.published_at)
        .where(
            signal_outbox.c.symbol == symbol,
            signal_outbox.c.kind == "exit",
            signal_outbox.c.published_at > func.now() - limits.rate_window,
            # Published within the reissue of being decided, else expired: for the index.
            signal_outbox.c.created_at > func.now() - limits.rate_window - limits.reissue,
            rule.in_(PACED),
        )
        .order_by(signal_outbox.c.published_at)
    )
    return tuple(rows)


# Ours alone are the fills since the symbol was last flat only where that moment is known, the fill that
# opened the position is the first of them, and nobody else's order is among them; a flip's one fill belongs
# to two positions. Where any of that is open nobody may say that a position is smaller than it looks.
async def _booked_size(connection: AsyncConnection, tracked: Tracked) -> Decimal | None:
    if tracked.strategy_id == UNATTRIBUTED:
        return None
    rows = await connection.execute(
        _books_of(),
        {
            "symbol": tracked.symbol,
            "lifecycle_id": tracked.lifecycle_id,
            "opening_side": "buy" if tracked.side is Side.LONG else "sell",
        },
    )
    row = rows.one()
    if row.first_seen_at is None or row.first_seen_at - tracked.opened_at > ADOPTED_AFTER:
        return None
    if row.flat_at is not None and tracked.opened_at <= row.flat_at:
        return None
    if row.left is None or row.foreign or row.first_at != row.first_bought_at:
        return None
    if row.first_at > tracked.opened_at or (row.flat_at is None and row.first_at < tracked.opened_at):
        return None
    return Decimal(row.left)


def _instrument(row: Row[Any]) -> Instrument:
    if row.lot_size is None or row.lot_size <= 0:
        return Instrument()  # the finest steps
    return Instrument(
        lot_size=row.lot_size, min_order_qty=row.min_order_qty, min_order_value=row.min_order_value
    )


# `rows` are one exit with each of its orders.
def _flight(rows: Sequence[Row[Any]]) -> Flight:
    intent = rows[0]
    reasons = _decoder.decode(intent.payload).metadata
    flight = Flight(
        signal_id=intent.signal_id,
        rule=reasons.rule,
        stage=reasons.stage,
        live_size=reasons.live_size,
        entry_price=reasons.entry_price,
        size_to_close=reasons.size_to_close,
        issued_at=intent.created_at,
        answer=Answer.EXPIRED if intent.is_over else Answer.NONE,
    )
    # A rejected signal may be tried again under its id: of several orders the one furthest on counts.
    order = max(rows, key=lambda row: _WEIGHT[_answer(row.status)])
    if order.status is None:
        return flight
    return msgspec.structs.replace(
        flight,
        answer=_answer(order.status),
        filled_size=Decimal(0) if order.status in _NOTHING_FILLED else order.filled_quantity,
        answered_at=order.answered_at.replace(tzinfo=UTC),
    )


def _answer(status: str | None) -> Answer:
    return Answer.NONE if status is None else _ANSWERS.get(status, Answer.RESTING)


# Questions that are asked for every exit are put together once. This one is answered by one row, or one for
# each order of the newest exit and entry.
@functools.cache
def _situation_of() -> Select[Any]:
    newest = union_all(_newest("exit"), _newest("entry")).subquery()
    steps = (
        select(instrument_info.c.lot_size, instrument_info.c.min_order_qty, instrument_info.c.min_order_value)
        .where(instrument_info.c.symbol == bindparam("symbol"))
        .subquery()
    )
    is_halted = exists().where(
        trading_states.c.scope == EXITS, trading_states.c.state == TradingState.HALTED.value
    )
    always = select(is_halted.label("is_halted")).subquery()
    return select(
        always,
        steps,
        newest,
        orders.c.status,
        orders.c.filled_quantity,
        func.coalesce(orders.c.executed_at, orders.c.updated_at).label("answered_at"),
    ).select_from(
        always.outerjoin(steps, true())
        .outerjoin(newest, true())
        .outerjoin(orders, orders.c.signal_id == newest.c.signal_id)
    )


@functools.cache
def _books_of() -> Select[Any]:
    lifecycles = position_lifecycles.c
    symbol: BindParameter[str] = bindparam("symbol")
    lifecycle: BindParameter[UUID] = bindparam("lifecycle_id", type_=Uuid())
    first_seen_at = (
        select(lifecycles.created_at).where(lifecycles.lifecycle_id == lifecycle).scalar_subquery()
    )
    # When it was known to be flat: its newest event may be long before that, where it was merely gone.
    flat_at = (
        select(func.max(func.greatest(lifecycles.newest_event_at, lifecycles.closed_at)))
        .where(lifecycles.symbol == symbol, lifecycles.closed_at.is_not(None))
        .scalar_subquery()
    )
    filled_at = func.timezone("UTC", func.coalesce(orders.c.executed_at, orders.c.updated_at))
    opens = func.lower(orders.c.side) == bindparam("opening_side")
    bought = func.sum(orders.c.filled_quantity).filter(opens)
    sold = func.coalesce(func.sum(orders.c.filled_quantity).filter(~opens), 0)
    # A fill can be quicker than the record of its signal; the intent is there before it is sent.
    closes = cast(signal_outbox.c.payload, JSONB)["metadata"]["lifecycle_id"].as_string()
    of_another = and_(signal_outbox.c.kind == "exit", closes != cast(lifecycle, String))
    unknown = and_(trading_signals.c.signal_id.is_(None), signal_outbox.c.signal_id.is_(None))
    return (
        select(
            first_seen_at.label("first_seen_at"),
            flat_at.label("flat_at"),
            (bought - sold).label("left"),
            func.min(filled_at).label("first_at"),
            func.min(filled_at).filter(opens).label("first_bought_at"),
            func.count().filter(unknown).label("foreign"),
        )
        .select_from(
            orders.outerjoin(trading_signals, trading_signals.c.signal_id == orders.c.signal_id).outerjoin(
                signal_outbox, signal_outbox.c.signal_id == orders.c.signal_id
            )
        )
        .where(
            orders.c.asset == symbol,
            orders.c.status != "dry_run",
            orders.c.filled_quantity > 0,
            filled_at > func.coalesce(flat_at, literal_column("'-infinity'::timestamptz")),
            func.coalesce(of_another, literal_column("false")).is_(False),
        )
    )


# The outbox keeps everything: one step into an index per kind, however much there is.
def _newest(kind: str) -> Select[Any]:
    return (
        select(
            signal_outbox.c.kind,
            signal_outbox.c.signal_id,
            signal_outbox.c.payload,
            signal_outbox.c.created_at,
            func.coalesce(signal_outbox.c.published_at, signal_outbox.c.created_at).label("sent_at"),
            # Before its validity ends, the broker may hold what a silent worker sent.
            and_(signal_outbox.c.state == "expired", signal_outbox.c.valid_until < func.now()).label(
                "is_over"
            ),
        )
        .where(signal_outbox.c.symbol == bindparam("symbol"), signal_outbox.c.kind == kind)
        .order_by(signal_outbox.c.created_at.desc())
        .limit(1)
    )
