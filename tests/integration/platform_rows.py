"""What the neighbours have written: a platform that an inference worker can trade on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg

from sandbox.platform_schema import create_platform_tables


class Platform:
    """The neighbours' tables of one test's database."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url

    async def open(
        self, *, available: str = "100000", symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    ) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            await create_platform_tables(connection)
            for symbol in ("BTCUSDT", "ETHUSDT"):
                await connection.execute(
                    "INSERT INTO instrument_info (symbol, base_coin, quote_coin, lot_size, min_order_qty,"
                    " min_order_value, price_tick_size) VALUES ($1, $2, 'USDT', 0.001, 0.001, 5, 0.01)",
                    symbol,
                    symbol.removesuffix("USDT"),
                )
        finally:
            await connection.close()
        await self.balance(available)

    async def balance(self, available: str) -> None:
        now = datetime.now(UTC).replace(tzinfo=None)
        await self.execute(
            "INSERT INTO account_balances (coin, wallet_balance, available_balance, frozen, event_timestamp,"
            " received_at) VALUES ('USDT', $1, $1, 0, $2, $2)",
            Decimal(available),
            now,
        )

    async def order(
        self,
        symbol: str,
        side: str,
        *,
        status: str = "filled",
        filled: str = "0",
        signal_id: UUID | None = None,
    ) -> str:
        order_id = f"EX-{uuid4()}"
        await self.execute(
            "INSERT INTO orders (id, order_id, signal_id, asset, side, order_type, quantity, status,"
            " filled_quantity, is_dry_run) VALUES ($1, $2, $3, $4, $5, 'Market', 1, $6, $7, false)",
            uuid4(),
            order_id,
            signal_id or uuid4(),
            symbol,
            side,
            status,
            Decimal(filled),
        )
        return order_id

    async def execute(self, statement: str, *values: object) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()

    async def rows(self, query: str, *values: object) -> list[dict[str, object]]:
        connection = await asyncpg.connect(self._url)
        try:
            return [dict(row) for row in await connection.fetch(query, *values)]
        finally:
            await connection.close()


@asynccontextmanager
async def flat_position_manager() -> AsyncIterator[int]:
    """A Position Manager that holds nothing; yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            asked = await reader.readuntil(b"\r\n\r\n")
            status, body = "404 Not Found", b'{"detail":"Position not found"}'
            if asked.startswith(b"GET /api/v1/positions HTTP"):
                status, body = "200 OK", b'{"positions":[],"count":0}'
            head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
