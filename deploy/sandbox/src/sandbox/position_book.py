"""What the Position Manager writes down: one row per symbol, and how much of each order is in it.

The tables are its only memory, so that an event that comes twice changes nothing, also after a restart.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg

from sandbox.core.positions import NO_AMOUNT, Booked, Executed, Position, after_fill, news
from sandbox.platform_schema import create_platform_tables


async def prepare(pool: asyncpg.Pool) -> None:
    """The tables are in place."""
    async with pool.acquire() as connection:
        await create_platform_tables(connection)


async def book(pool: asyncpg.Pool, executed: Executed, now: datetime) -> Position | None:
    """The position with all of `executed` in it; None when it was in it already."""
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(_BOOKED, executed.order_id)
        fill = news(executed, Booked(quantity=row["quantity"], notional=row["notional"]) if row else Booked())
        if fill is None:
            return None
        before = await connection.fetchrow(_FOR_UPDATE, executed.symbol)
        position = _position(before) if before else _new(executed.symbol, now)
        after = after_fill(position, fill, now)
        await connection.execute(
            _UPSERT_POSITION,
            after.id,
            after.symbol,
            after.mode,
            after.size,
            after.average_entry_price,
            after.realized_pnl,
            after.version,
            _naive(after.last_updated),
            None if after.closed_at is None else _naive(after.closed_at),
            _naive(after.created_at),
        )
        await connection.execute(
            _UPSERT_BOOKED, executed.order_id, executed.quantity, executed.notional, _naive(now)
        )
        return after


async def find(pool: asyncpg.Pool, symbol: str, mode: str) -> Position | None:
    """The row of `symbol`, closed or not."""
    row = await pool.fetchrow(_FIND, symbol, mode)
    return _position(row) if row else None


async def all_positions(pool: asyncpg.Pool) -> list[Position]:
    """Every row, the closed ones too, oldest first."""
    return [_position(row) for row in await pool.fetch(_ALL)]


def _new(symbol: str, now: datetime) -> Position:
    return Position(id=uuid.uuid4(), symbol=symbol, last_updated=now, created_at=now)


def _position(row: Mapping[str, Any]) -> Position:
    return Position(
        id=row["id"],
        symbol=row["asset"],
        mode=row["mode"],
        size=row["size"],
        average_entry_price=row["average_entry_price"],
        current_price=row["current_price"],
        unrealized_pnl=row["unrealized_pnl"] or NO_AMOUNT,
        realized_pnl=row["realized_pnl"] or NO_AMOUNT,
        long_size=row["long_size"],
        short_size=row["short_size"],
        version=row["version"],
        last_updated=row["last_updated"].replace(tzinfo=UTC),
        closed_at=None if row["closed_at"] is None else row["closed_at"].replace(tzinfo=UTC),
        created_at=row["created_at"].replace(tzinfo=UTC),
    )


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


_BOOKED = "SELECT quantity, notional FROM position_fills WHERE order_id = $1 FOR UPDATE"

_FOR_UPDATE = "SELECT * FROM positions WHERE asset = $1 AND mode = 'one-way' FOR UPDATE"

_FIND = "SELECT * FROM positions WHERE asset = $1 AND mode = $2"

_ALL = "SELECT * FROM positions ORDER BY created_at, asset"

_UPSERT_POSITION = """
INSERT INTO positions
    (id, asset, mode, size, average_entry_price, realized_pnl, version, last_updated, closed_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (asset, mode) DO UPDATE SET
    size = excluded.size, average_entry_price = excluded.average_entry_price,
    realized_pnl = excluded.realized_pnl, version = excluded.version,
    last_updated = excluded.last_updated, closed_at = excluded.closed_at
"""

_UPSERT_BOOKED = """
INSERT INTO position_fills (order_id, quantity, notional, booked_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (order_id) DO UPDATE SET
    quantity = excluded.quantity, notional = excluded.notional, booked_at = excluded.booked_at
"""
