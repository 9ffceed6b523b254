"""The signals: those that were published, and all that is known of one."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import Double, RowMapping, Select, case, cast, false, func, not_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from api.core.pages import Window
from api.queries.conditions import equal, within
from common.messages import Side, TradingSignal
from common.tables import orders as order_rows
from common.tables import signal_outbox, trading_signals
from common.trading_log import of_exit_rule

Kind = Literal["entry", "exit"]
MOST_ORDERS = 100
"""Of one signal: an exit in parts has several, nothing has so many."""
MOST_EXITS = 100
"""Of one position, the newest."""

_sent = trading_signals.c
# Not `IS NULL`: PostgreSQL takes that for rare, and would read the whole table for the newest of them.
_IS_ENTRY = case((of_exit_rule(), false()), else_=true())
_decoder = msgspec.json.Decoder(TradingSignal)


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that was published."""

    signal_id: UUID
    kind: Kind
    """`exit`: of an exit rule. An entry that reduces a position is an entry."""
    strategy_id: str
    symbol: str
    side: Side
    price: Decimal
    """Quote currency."""
    amount_quote: Decimal | None
    """Quote currency; null on signals of the platform's older service."""
    confidence: float | None
    timestamp: datetime
    model_version: str | None
    is_warmup: bool
    market_data_snapshot: dict[str, Any] | None
    """The market that the decision saw."""
    metadata: dict[str, Any] | None
    """Every gate's figures, or the exit rule's."""
    trace_id: str | None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What the outbox holds of a signal: how its publishing went."""

    state: Literal["pending", "published", "expired"]
    """`pending` until the broker confirmed it or it was too late."""
    attempts: int
    """How often somebody else took it over from a worker that went silent."""
    created_at: datetime
    published_at: datetime | None
    """When the broker confirmed it."""
    valid_until: datetime
    """It is never sent later."""
    reason: str | None
    """Why it expired."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order that the Order Manager made of a signal."""

    order_id: str
    """The Order Manager's."""
    side: str
    """As the Order Manager spells it."""
    order_type: str
    """As the Order Manager spells it."""
    status: str
    """The Order Manager's word for where it stands."""
    quantity: Decimal
    """Base currency."""
    price: Decimal | None
    """Quote currency; null: at the market."""
    filled_quantity: Decimal
    """Base currency."""
    average_price: Decimal | None
    """Of what was filled, quote currency; null: nothing was."""
    fees: Decimal | None
    """Quote currency."""
    rejection_reason: str | None
    """Null: it was not rejected."""
    is_dry_run: bool
    """Nothing reached an exchange."""
    created_at: datetime
    updated_at: datetime
    executed_at: datetime | None


async def signals(
    connection: AsyncConnection,
    window: Window,
    *,
    strategy_id: str | None = None,
    symbol: str | None = None,
    side: Side | None = None,
    kind: Kind | None = None,
    is_warmup: bool | None = None,
) -> list[Signal]:
    """The newest signals of the window first, and one more than its limit where there are more."""
    wanted = equal((_sent.strategy_id, strategy_id), (_sent.asset, symbol), (_sent.side, side))
    if kind:
        wanted.append(of_exit_rule() if kind == "exit" else _IS_ENTRY)
    if is_warmup is not None:
        wanted.append(_sent.is_warmup if is_warmup else not_(_sent.is_warmup))
    rows = await connection.execute(
        _shown()
        .where(*wanted, *within(window, _sent.timestamp, _sent.signal_id))
        .order_by(_sent.timestamp.desc(), _sent.signal_id.desc())
        .limit(window.limit + 1)
    )
    return [msgspec.convert(row, Signal) for row in rows.mappings()]


async def signal(
    connection: AsyncConnection, signal_id: UUID
) -> tuple[Signal, Intent | None, TradingSignal | None] | None:
    """The signal, its intent, and the message as it was decided, while the outbox keeps them.

    One that was never published is shown as it was meant. None: there was never such a signal.
    """
    rows = await connection.execute(_shown().where(_sent.signal_id == signal_id))
    row = rows.mappings().first()
    recorded = msgspec.convert(row, Signal) if row else None
    held = (
        (await connection.execute(select(signal_outbox).where(signal_outbox.c.signal_id == signal_id)))
        .mappings()
        .first()
    )
    if held is None:
        return (recorded, None, None) if recorded else None
    message = _decoder.decode(held["payload"])
    return recorded or _meant(held, message), msgspec.convert(held, Intent), message


async def orders(connection: AsyncConnection, signal_id: UUID) -> list[Order] | None:
    """The orders that came of the signal, the oldest first; None: no Order Manager has its tables here."""
    if not await connection.scalar(select(func.to_regclass(order_rows.name).is_not(None))):
        return None
    placed = order_rows.c
    exact = {"quantity", "price", "filled_quantity", "average_price", "fees"}
    naive = {"created_at", "updated_at", "executed_at"}
    columns = [
        func.trim_scale(placed[name]).label(name)
        if name in exact
        else func.timezone("UTC", placed[name]).label(name)
        if name in naive
        else placed[name]
        for name in Order.__struct_fields__
    ]
    rows = await connection.execute(
        select(*columns)
        .where(placed.signal_id == signal_id)
        .order_by(placed.created_at, placed.id)
        .limit(MOST_ORDERS)
    )
    return [msgspec.convert(row, Order) for row in rows.mappings()]


async def exits_of(
    connection: AsyncConnection, symbol: str, lifecycle_id: UUID, opened_at: datetime
) -> list[Signal]:
    """The newest exits that were sent for a position first."""
    rows = await connection.execute(
        _shown()
        .where(
            _sent.asset == symbol,
            *within(Window(start=opened_at, limit=MOST_EXITS), _sent.timestamp, _sent.signal_id),
            of_exit_rule(),
            _sent.metadata["lifecycle_id"].astext == str(lifecycle_id),
        )
        .order_by(_sent.timestamp.desc(), _sent.signal_id.desc())
        .limit(MOST_EXITS)
    )
    return [msgspec.convert(row, Signal) for row in rows.mappings()]


def _shown() -> Select[Any]:
    return select(
        _sent.signal_id,
        case((of_exit_rule(), "exit"), else_="entry").label("kind"),
        _sent.strategy_id,
        _sent.asset.label("symbol"),
        _sent.side,
        func.trim_scale(_sent.price).label("price"),
        func.trim_scale(_sent.amount_quote).label("amount_quote"),
        cast(_sent.confidence, Double).label("confidence"),
        func.timezone("UTC", _sent.timestamp).label("timestamp"),
        _sent.model_version,
        _sent.is_warmup,
        _sent.market_data_snapshot,
        _sent.metadata,
        _sent.trace_id,
    )


def _meant(held: RowMapping, message: TradingSignal) -> Signal:
    return Signal(
        signal_id=message.signal_id,
        kind=held["kind"],
        strategy_id=message.strategy_id,
        symbol=message.symbol,
        side=message.signal_type,
        price=Decimal(repr(message.market_data_snapshot.price)),
        amount_quote=Decimal(repr(message.amount)),
        confidence=message.confidence,
        timestamp=message.timestamp,
        model_version=message.model_version,
        is_warmup=message.is_warmup,
        market_data_snapshot=msgspec.to_builtins(message.market_data_snapshot),
        metadata=message.metadata,
        trace_id=message.trace_id,
    )
