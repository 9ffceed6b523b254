"""What the Order Manager writes down, and how it finds its state again after a restart.

The tables are the only memory: open orders, the wallet and (by replaying the fills) every position come
back from them.
"""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec

from sandbox.core.order_rules import ZERO, Instrument, is_opposite
from sandbox.core.orders import Order
from sandbox.core.paper_account import Account, Fill, Holding, after_fill
from sandbox.platform_schema import create_platform_tables


class Balances(msgspec.Struct, frozen=True, kw_only=True):
    """One moment of the account in quote currency, as the balance tables show it."""

    wallet: Decimal
    frozen: Decimal
    margin: Decimal
    equity: Decimal

    @property
    def available(self) -> Decimal:
        """What a new order may still use, never below 0."""
        return max(self.wallet - self.frozen, ZERO)


async def prepare(pool: asyncpg.Pool, instruments: Iterable[Instrument], now: datetime) -> None:
    """Tables and trading rules are in place."""
    async with pool.acquire() as connection:
        await create_platform_tables(connection)
        await connection.executemany(
            _UPSERT_INSTRUMENT,
            [(*msgspec.structs.astuple(instrument), now) for instrument in instruments],
        )


async def account(pool: asyncpg.Pool, quote_coin: str, starting_balance: Decimal) -> Account:
    """The account as the tables tell it; `starting_balance` on a first start."""
    wallet = await pool.fetchval(_LATEST_WALLET, quote_coin)
    restored = Account(wallet_quote=starting_balance)
    for row in await pool.fetch(_FILLS):
        fill = Fill(
            symbol=row["asset"],
            side=row["side"],
            quantity=row["filled_quantity"],
            price=row["average_price"],
            fee_quote=ZERO,
        )
        restored = after_fill(restored, fill)
    holdings = {symbol: holding for symbol, holding in restored.holdings.items() if holding.size}
    return Account(wallet_quote=starting_balance if wallet is None else wallet, holdings=holdings)


async def open_orders(pool: asyncpg.Pool, holdings: Mapping[str, Holding]) -> dict[uuid.UUID, Order]:
    """Every order that may still fill; which of them reduce is read off the positions."""
    found = [_order(row, holdings) for row in await pool.fetch(_OPEN_ORDERS)]
    return {order.id: order for order in found}


async def is_known(pool: asyncpg.Pool, signal_id: uuid.UUID) -> bool:
    """Whether the signal has an order already; one that was only ever rejected has not."""
    return bool(await pool.fetchval(_IS_KNOWN, signal_id))


async def record(
    pool: asyncpg.Pool,
    orders: Iterable[Order],
    balances: Balances,
    *,
    quote_coin: str,
    trace_id: str | None,
    now: datetime,
) -> None:
    """Orders and balances are stored, all or nothing. A second rejection of a signal adds no row."""
    async with pool.acquire() as connection, connection.transaction():
        for order in orders:
            await connection.execute(
                _UPSERT_ORDER,
                order.id,
                order.order_id,
                order.signal_id,
                order.symbol,
                order.side,
                order.order_type,
                order.quantity,
                order.price,
                order.status,
                order.filled_quantity,
                order.average_price,
                order.fees,
                order.created_at,
                order.updated_at,
                order.executed_at,
                order.trace_id,
                order.rejection_reason,
            )
        await connection.execute(
            _INSERT_BALANCE,
            quote_coin,
            balances.wallet,
            balances.available,
            balances.frozen,
            now,
            trace_id,
        )
        await connection.execute(
            _INSERT_MARGIN_BALANCE,
            balances.equity,
            balances.wallet,
            balances.available,
            balances.margin,
            now,
            trace_id,
        )


def _order(row: Mapping[str, Any], holdings: Mapping[str, Holding]) -> Order:
    holding = holdings.get(row["asset"])
    return Order(
        id=row["id"],
        order_id=row["order_id"],
        signal_id=row["signal_id"],
        symbol=row["asset"],
        side=row["side"],
        order_type=row["order_type"],
        quantity=row["quantity"],
        price=row["price"],
        status=row["status"],
        filled_quantity=row["filled_quantity"],
        average_price=row["average_price"],
        fees=row["fees"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        executed_at=row["executed_at"],
        trace_id=row["trace_id"],
        reduce_only=holding is not None and is_opposite(row["side"], holding.size),
        reference_price=row["price"] or ZERO,
    )


_UPSERT_INSTRUMENT = """
INSERT INTO instrument_info
    (symbol, base_coin, quote_coin, lot_size, min_order_qty, min_order_value, price_tick_size, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (symbol) DO UPDATE SET
    lot_size = excluded.lot_size, min_order_qty = excluded.min_order_qty,
    min_order_value = excluded.min_order_value, price_tick_size = excluded.price_tick_size,
    updated_at = excluded.updated_at
"""

_LATEST_WALLET = """
SELECT wallet_balance FROM account_balances WHERE coin = $1 ORDER BY received_at DESC, id DESC LIMIT 1
"""

_FILLS = """
SELECT asset, side, filled_quantity, average_price FROM orders
WHERE filled_quantity > 0 AND NOT is_dry_run
ORDER BY coalesce(executed_at, updated_at), created_at
"""

_OPEN_ORDERS = """
SELECT * FROM orders WHERE status IN ('pending', 'partially_filled') AND NOT is_dry_run ORDER BY created_at
"""

_IS_KNOWN = """
SELECT EXISTS (SELECT FROM orders WHERE signal_id = $1 AND status NOT IN ('rejected', 'dry_run'))
"""

_UPSERT_ORDER = """
WITH stored AS (
    INSERT INTO orders
        (id, order_id, signal_id, asset, side, order_type, quantity, price, status, filled_quantity,
         average_price, fees, created_at, updated_at, executed_at, trace_id, rejection_reason)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
    ON CONFLICT (order_id) DO UPDATE SET
        status = excluded.status, filled_quantity = excluded.filled_quantity,
        average_price = excluded.average_price, fees = excluded.fees,
        updated_at = excluded.updated_at, executed_at = excluded.executed_at
        WHERE orders.status <> 'rejected'
    RETURNING id, signal_id
)
INSERT INTO signal_order_relationships (signal_id, order_id, created_at)
SELECT signal_id, id, $13 FROM stored
ON CONFLICT DO NOTHING
"""

_INSERT_BALANCE = """
INSERT INTO account_balances
    (coin, wallet_balance, available_balance, frozen, event_timestamp, received_at, trace_id)
VALUES ($1, $2, $3, $4, $5, $5, $6)
"""

_INSERT_MARGIN_BALANCE = """
INSERT INTO account_margin_balances
    (account_type, total_equity, total_wallet_balance, total_available_balance, total_initial_margin,
     event_timestamp, received_at, trace_id)
VALUES ('UNIFIED', $1, $2, $3, $4, $5, $5, $6)
"""
