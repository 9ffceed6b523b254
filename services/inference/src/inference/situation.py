"""What the neighbours know about a symbol, read from their tables: orders, balances, instruments.

Two statements, whatever is asked: one row of single figures, and the open orders.
"""

import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import msgspec
from sqlalchemy import (
    BindParameter,
    Row,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    case,
    func,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.trading_state import FLEET, TradingState, scope_of, trading_state
from common.messages import Side
from common.tables import (
    account_balances,
    account_margin_balances,
    instrument_info,
    orders,
    trading_signals,
    trading_states,
)
from inference.core.case import Balance, Instrument, OpenOrder, Situation
from inference.core.entry_gates import BOOKING_PATIENCE

OPEN_STATUSES = ("pending", "partially_filled")
"""An order in one of these may still fill."""
QUOTE_COIN = "USDT"
"""The currency of amounts and balances where instrument_info does not know the symbol."""
FILLS_SINCE = timedelta(days=1)
"""Orders older than this are taken as booked: no index of `orders` leads to the newest fill."""


async def gather(
    connection: AsyncConnection,
    strategy_id: str,
    symbol: str,
    *,
    sharing: Sequence[str],
    with_margin: bool,
    initial: TradingState,
) -> Situation:
    """The situation of `strategy_id` on `symbol` now, but for the positions: no table of ours knows them.

    `sharing`: the strategies whose open orders count. A database error means that it is unknown.
    """
    now = datetime.now(UTC)
    asked = {
        "symbol": symbol,
        "strategy_scope": scope_of(strategy_id),
        "cancelled_since": _naive(now - BOOKING_PATIENCE),
        "ordered_since": _naive(now - FILLS_SINCE),
    }
    row = (await connection.execute(_figures(with_margin=with_margin), asked)).one()
    return Situation(
        state=state_from(row.states, strategy_id, initial),
        open_orders=await open_orders(connection, symbol, sharing),
        live_size=None,
        position_problem=None,
        booked_at=None,
        newest_fill_at=None if row.newest_fill_at is None else _aware(row.newest_fill_at),
        other_exposure_quote=None,
        balance=_balance(row.available, row.received_at),
        margin=_balance(row.margin_available, row.margin_received_at),
        instrument=_instrument(row),
    )


async def open_orders(
    connection: AsyncConnection, symbol: str, sharing: Sequence[str]
) -> tuple[OpenOrder, ...]:
    """Orders of the symbol that may still fill, of the strategies `sharing` it; the newest first.

    `orders` knows no strategy: it is joined through the signal, and an order without a known signal counts
    for every strategy.
    """
    rows = await connection.execute(_open_orders(), {"symbol": symbol, "sharing": list(sharing)})
    return tuple(
        OpenOrder(order_id=row.order_id, side=cast(Side, row.side), status=row.status) for row in rows
    )


def states_of(strategy_scope: BindParameter[Any]) -> ScalarSelect[Any]:
    """The stored states that hold in the scope of a strategy, as one value for `state_from`."""
    return (
        select(func.jsonb_object_agg(trading_states.c.scope, trading_states.c.state))
        .where(or_(trading_states.c.scope == FLEET, trading_states.c.scope == strategy_scope))
        .scalar_subquery()
    )


def state_from(stored: Mapping[str, str] | None, strategy_id: str, initial: TradingState) -> TradingState:
    """The state that holds for the strategy."""
    states = {scope: TradingState(state) for scope, state in (stored or {}).items()}
    return trading_state(states, strategy_id, initial)


# Statements are built once: to build one costs more than to run it.
@functools.cache
def _open_orders() -> Select[Any]:
    known_to = trading_signals.c.strategy_id.in_(bindparam("sharing", expanding=True))
    return (
        select(orders.c.order_id, func.lower(orders.c.side).label("side"), orders.c.status)
        .outerjoin(trading_signals, trading_signals.c.signal_id == orders.c.signal_id)
        .where(
            orders.c.asset == bindparam("symbol"),
            orders.c.status.in_(OPEN_STATUSES),
            or_(trading_signals.c.strategy_id.is_(None), known_to),
        )
        .order_by(orders.c.created_at.desc())
    )


@functools.cache
def _figures(*, with_margin: bool) -> Select[Any]:
    symbol: BindParameter[str] = bindparam("symbol")
    instrument = select(instrument_info).where(instrument_info.c.symbol == symbol).subquery()
    coin = func.coalesce(
        select(instrument_info.c.quote_coin).where(instrument_info.c.symbol == symbol).scalar_subquery(),
        QUOTE_COIN,
    )
    balance = (
        select(account_balances.c.available_balance.label("available"), account_balances.c.received_at)
        .where(account_balances.c.coin == coin)
        .order_by(account_balances.c.received_at.desc())
        .limit(1)
        .subquery()
    )
    margin = (
        select(
            account_margin_balances.c.total_available_balance.label("margin_available"),
            account_margin_balances.c.received_at.label("margin_received_at"),
        )
        .order_by(account_margin_balances.c.received_at.desc())
        .limit(1)
        .subquery()
    )
    of_margin = (
        (margin.c.margin_available, margin.c.margin_received_at)
        if with_margin
        else (null().label("margin_available"), null().label("margin_received_at"))
    )
    one = select(
        states_of(bindparam("strategy_scope")).label("states"),
        _newest_fill_at(symbol).label("newest_fill_at"),
    )
    one_row = one.subquery()
    joined = one_row.outerjoin(instrument, true()).outerjoin(balance, true())
    if with_margin:
        joined = joined.outerjoin(margin, true())
    return select(
        one_row,
        instrument.c.lot_size,
        instrument.c.min_order_qty,
        instrument.c.min_order_value,
        balance.c.available,
        balance.c.received_at,
        *of_margin,
    ).select_from(joined)


# An order that was cancelled half way may have filled silently, and its row says only when it was cancelled:
# nobody books that moment, so it counts for as long as a booking may take.
def _newest_fill_at(symbol: BindParameter[Any]) -> ScalarSelect[Any]:
    filled_at = func.coalesce(orders.c.executed_at, orders.c.updated_at)
    just_cancelled = and_(orders.c.status == "cancelled", orders.c.updated_at > bindparam("cancelled_since"))
    return (
        select(func.max(case((orders.c.status == "filled", filled_at), else_=orders.c.updated_at)))
        .where(
            orders.c.asset == symbol,
            or_(orders.c.status == "filled", just_cancelled),
            orders.c.filled_quantity > 0,
            orders.c.created_at > bindparam("ordered_since"),
        )
        .scalar_subquery()
    )


# A figure that is no number is not known: PostgreSQL's numeric has NaN, too.
def _balance(available: Decimal | None, received_at: datetime | None) -> Balance | None:
    if available is None or received_at is None or not available.is_finite():
        return None
    return Balance(available_quote=available, received_at=_aware(received_at))


def _instrument(row: Row[Any]) -> Instrument | None:
    figures = (row.lot_size, row.min_order_qty, row.min_order_value)
    if any(figure is None or not figure.is_finite() or figure < 0 for figure in figures):
        return None
    return msgspec.convert(row._mapping, Instrument)


def _aware(naive_utc: datetime) -> datetime:
    return naive_utc.replace(tzinfo=UTC)


def _naive(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(tzinfo=None)
