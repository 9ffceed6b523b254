"""What the neighbours know about a symbol, read from their tables: orders, balances, instruments."""

from datetime import UTC, datetime
from typing import cast

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.trading_state import TradingState, trading_state
from common.messages import Side
from common.tables import account_balances, instrument_info, orders, trading_signals
from common.trading_states import stored_states
from inference.core.case import Balance, Instrument, OpenOrder, Situation

OPEN_STATUSES = ("pending", "partially_filled")
"""An order in one of these may still fill."""
QUOTE_COIN = "USDT"
"""The currency of amounts and balances where instrument_info does not know the symbol."""


async def gather(
    connection: AsyncConnection, strategy_id: str, symbol: str, initial: TradingState
) -> Situation:
    """The situation of `strategy_id` on `symbol` now, but for the position: no table of ours knows it.

    A database error means that it is unknown.
    """
    quote_coin, instrument = await instrument_of(connection, symbol)
    return Situation(
        state=trading_state(await stored_states(connection), strategy_id, initial),
        open_orders=await open_orders(connection, strategy_id, symbol),
        live_size=None,
        balance=await newest_balance(connection, quote_coin),
        instrument=instrument,
    )


async def open_orders(connection: AsyncConnection, strategy_id: str, symbol: str) -> tuple[OpenOrder, ...]:
    """Orders of the symbol that may still fill and are the strategy's.

    `orders` knows no strategy: it is joined through the signal, and an order without a known signal counts
    for every strategy.
    """
    rows = await connection.execute(
        select(orders.c.order_id, func.lower(orders.c.side).label("side"), orders.c.status)
        .outerjoin(trading_signals, trading_signals.c.signal_id == orders.c.signal_id)
        .where(
            orders.c.asset == symbol,
            orders.c.status.in_(OPEN_STATUSES),
            or_(trading_signals.c.strategy_id.is_(None), trading_signals.c.strategy_id == strategy_id),
        )
        .order_by(orders.c.created_at.desc())
    )
    return tuple(
        OpenOrder(order_id=row.order_id, side=cast(Side, row.side), status=row.status) for row in rows
    )


async def newest_balance(connection: AsyncConnection, coin: str) -> Balance | None:
    """The newest balance of a coin: account_balances is append-only."""
    row = (
        await connection.execute(
            select(account_balances.c.available_balance, account_balances.c.received_at)
            .where(account_balances.c.coin == coin)
            .order_by(account_balances.c.received_at.desc())
            .limit(1)
        )
    ).first()
    if row is None:
        return None
    return Balance(available_quote=row.available_balance, received_at=_aware(row.received_at))


async def instrument_of(connection: AsyncConnection, symbol: str) -> tuple[str, Instrument | None]:
    """The symbol's quote coin and minimums; unknown: QUOTE_COIN and None."""
    row = (
        await connection.execute(select(instrument_info).where(instrument_info.c.symbol == symbol))
    ).first()
    if row is None:
        return QUOTE_COIN, None
    return row.quote_coin or QUOTE_COIN, msgspec.convert(row._mapping, Instrument)


def _aware(naive_utc: datetime) -> datetime:
    return naive_utc.replace(tzinfo=UTC)
