"""From a price on the bus to the broker's confirm of its exit, beside what its servers cost alone.

`python -m tests.benchmarks.exit_path`: 200 prices a second over 400 positions, one in ten of them a
breach, on a private PostgreSQL with synchronous_commit on and a private RabbitMQ.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import structlog
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.integration.exit_fleet import exit_fleet

from common import bus, topology
from common.database import create_engine
from common.messages import PriceSeen
from sandbox.blocking import blocking
from sandbox.servers import FLOTILLA, private_servers

UPDATES_PER_S = 200
POSITIONS = 400
SECONDS = 10
BREACH_EVERY = 10
FLOOR_ROUNDS = 200
GOAL_P99_MS = 15.0


async def measure(database_url: str, amqp_url: str, home: Path) -> None:
    """Prints p50 and p99 of the exit path, of one confirm and of one commit, and their ratios."""
    confirmed: dict[UUID, float] = {}
    publish = bus.publish

    async def timed(*args: Any, message_id: UUID, **options: Any) -> None:
        await publish(*args, message_id=message_id, **options)
        confirmed[message_id] = time.perf_counter()

    bus.publish = timed
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(exit_fleet(database_url, amqp_url, home))
        symbols = [f"SYM{number:04}USDT" for number in range(POSITIONS)]
        for symbol in symbols:
            fleet.positions.book(symbol, "0.05")
        peer = await stack.enter_async_context(fleet.peer())
        settings = fleet.settings(database_url=SecretStr(database_url))
        sender = bus.create_broker(settings, service="bench")
        await sender.connect()
        stack.push_async_callback(sender.stop)
        engine = create_engine(settings, application="bench")
        stack.push_async_callback(engine.dispose)

        await _warmed_up(peer, sender, symbols)
        breached = await _run(sender, symbols)
        signals = await _published(engine, len(breached))
        path = [confirmed[signals[symbol]] - at for symbol, at in breached.items()]

        broker_floor = await _floor(lambda: _confirm(publish, sender))
        database_floor = await _floor(lambda: _commit(engine))
        _print(path, broker_floor, database_floor)


async def _warmed_up(peer: Any, sender: Any, symbols: Sequence[str]) -> None:
    for symbol in symbols:
        await bus.announce(sender, topology.PRICE_SEEN, _seen(symbol, "100"))
    await asyncio.sleep(2)
    await peer.sweep.watch_silence()


# The moment of each breach by its symbol: one half of the positions is breached, the other only evaluated.
async def _run(sender: Any, symbols: Sequence[str]) -> dict[str, float]:
    breached: dict[str, float] = {}
    began = time.perf_counter()
    for number in range(UPDATES_PER_S * SECONDS):
        await asyncio.sleep(max(0.0, began + number / UPDATES_PER_S - time.perf_counter()))
        if number % BREACH_EVERY == 0:
            symbol = symbols[number // BREACH_EVERY]
            breached[symbol] = time.perf_counter()
            await bus.announce(sender, topology.PRICE_SEEN, _seen(symbol, "97"))
        else:
            symbol = symbols[-1 - number % (POSITIONS // 2)]
            await bus.announce(sender, topology.PRICE_SEEN, _seen(symbol, "100.1"))
    return breached


# The signal of every breached symbol, once all are recorded.
async def _published(engine: AsyncEngine, count: int) -> dict[str, UUID]:
    question = text("SELECT symbol, signal_id FROM signal_outbox WHERE state = 'published'")
    async with asyncio.timeout(30):
        while True:
            async with engine.connect() as connection:
                found = {row.symbol: row.signal_id for row in await connection.execute(question)}
            if len(found) == count:
                return found
            await asyncio.sleep(0.1)


async def _floor(work: Callable[[], Awaitable[None]]) -> list[float]:
    took = []
    for _ in range(FLOOR_ROUNDS):
        began = time.perf_counter()
        await work()
        took.append(time.perf_counter() - began)
    return took


async def _confirm(publish: Callable[..., Awaitable[None]], sender: Any) -> None:
    await publish(
        sender, topology.TRADING_SIGNALS, b"x" * 1500, message_id=uuid4(), trace_id="bench", expires_in_s=1
    )


async def _commit(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE position_lifecycles SET last_price = last_price + 1 WHERE symbol = 'SYM0001USDT'")
        )


def _seen(symbol: str, price: str) -> PriceSeen:
    return PriceSeen(symbol=symbol, price=Decimal(price), timestamp=datetime.now(UTC))


def _print(path: list[float], broker: list[float], database: list[float]) -> None:
    rows = {"price to confirmed exit": path, "one confirm of the broker": broker, "one commit": database}
    figures = {}
    for name, seconds in rows.items():
        cuts = quantiles([each * 1000 for each in seconds], n=100)
        figures[name] = cuts[49], cuts[98]
        print(f"{name:28} p50 {cuts[49]:7.2f} ms   p99 {cuts[98]:7.2f} ms   ({len(seconds)} times)")
    (half, most), (confirm, _), (commit, _) = figures.values()
    print(f"p50 is {half / (confirm + commit):.1f} times one commit and one confirm")
    verdict = "within" if most < GOAL_P99_MS else "above"
    print(f"p99 at {UPDATES_PER_S} prices a second is {verdict} the goal of {GOAL_P99_MS:g} ms")


def _database(server_url: str, name: str) -> str:
    url = urlsplit(server_url)._replace(path=f"/{name}").geturl()
    blocking(_create(server_url, name))
    subprocess.run(
        [sys.executable, "-m", "migrations", "upgrade"],
        env={**os.environ, "DATABASE_URL": url},
        check=True,
        capture_output=True,
    )
    return url


async def _create(server_url: str, name: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()


def main() -> None:
    """Starts private servers, migrates, measures, stops them."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with (
        private_servers(
            FLOTILLA / "bench-servers", report=lambda line: print(line, file=sys.stderr)
        ) as servers,
        tempfile.TemporaryDirectory() as home,
    ):
        assert servers.rabbitmq is not None
        name = f"bench_{uuid4().hex[:8]}"
        url = _database(servers.database_url, name)
        asyncio.run(measure(url, servers.rabbitmq.add_vhost(name), Path(home)))
        servers.rabbitmq.delete_vhost(name)


if __name__ == "__main__":
    main()
