"""A position that a paper account holds from before, bought for a strategy at the price of that time.

It stands where the platform keeps such things (signal, order, position, balance), with its times, so that
whoever starts finds it as after any restart.
"""

from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg

from sandbox import order_ledger, position_book
from sandbox.core.order_rules import ZERO, floor_to_step
from sandbox.core.orders import Order
from sandbox.core.paper_account import QUANTUM, fee
from sandbox.core.positions import Executed
from sandbox.errors import SetupError
from sandbox.order_desk import QUOTE_COIN, OrderManagerSettings

_LOT = Decimal("0.001")


async def bought(
    pool: asyncpg.Pool, strategy_id: str, symbol: str, *, price: float, amount_quote: float, at: datetime
) -> None:
    """The account holds a long of `symbol` that `strategy_id` bought for `amount_quote` at `at` (aware).

    Raises SetupError where the platform knows orders of the symbol already.
    """
    if await pool.fetchval("SELECT EXISTS (SELECT FROM orders WHERE asset = $1)", symbol):
        raise SetupError(f"{symbol} has been traded in this database: give an empty one, or none")
    paid = Decimal(repr(price)).quantize(QUANTUM)
    quantity = floor_to_step(Decimal(repr(amount_quote)) / paid, _LOT)
    signal_id, naive = uuid4(), at.replace(tzinfo=None)
    await pool.execute(_SIGNAL, signal_id, strategy_id, symbol, paid, naive, quantity * paid)
    order = _filled(symbol, signal_id, quantity, paid, naive)
    await order_ledger.record(
        pool, [order], _balances(order), quote_coin=QUOTE_COIN, trace_id=order.trace_id, now=naive
    )
    executed = Executed(
        order_id=order.order_id, symbol=symbol, side=order.side, quantity=quantity, average_price=paid
    )
    await position_book.book(pool, executed, at)


def _filled(symbol: str, signal_id: UUID, quantity: Decimal, price: Decimal, at: datetime) -> Order:
    return Order(
        id=uuid4(),
        order_id=str(uuid4()),
        signal_id=signal_id,
        symbol=symbol,
        side="Buy",
        order_type="Market",
        quantity=quantity,
        price=None,
        status="filled",
        filled_quantity=quantity,
        average_price=price,
        fees=fee(quantity, price, OrderManagerSettings().taker_fee_rate),
        created_at=at,
        updated_at=at,
        executed_at=at,
        trace_id=str(signal_id),
        reduce_only=False,
        reference_price=price,
    )


def _balances(order: Order) -> order_ledger.Balances:
    notional = order.quantity * order.reference_price
    starting = OrderManagerSettings().starting_balance_quote
    wallet = starting - notional - (order.fees or ZERO)
    return order_ledger.Balances(wallet=wallet, frozen=ZERO, margin=notional, equity=wallet + notional)


_SIGNAL = """
INSERT INTO trading_signals
    (signal_id, strategy_id, asset, side, price, timestamp, created_at, is_warmup, amount_quote)
VALUES ($1, $2, $3, 'buy', $4, $5, $5, true, $6)
"""
