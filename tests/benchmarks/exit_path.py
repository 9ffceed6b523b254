"""Goal 8, the path: from a price on the bus to the broker's confirm of its exit, beside its servers alone.

One exit worker as operators start it, 200 prices a second over 400 positions, one in forty of them a breach
that is filled and closed a moment later, on a PostgreSQL with synchronous_commit on. Its servers' own floors
are taken during the same seconds: one confirm and one commit each, twenty times a second.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import asyncpg
import msgspec
from tests.benchmarks.result import Result, at_least, at_most, percentile
from tests.benchmarks.servers import KEYS, Place, place
from tests.integration.exit_fleet import Fleet, exit_fleet, served

from common import bus, topology
from common.messages import PriceSeen, TradingSignal
from sandbox.ports import free_port
from sandbox.servers import Servers

UPDATES_PER_S = 200
POSITIONS = 400
SECONDS = 30
BREACH_EVERY = 40
FLOOR_PAUSE_S = 0.05
GOAL_P99_MS = 15.0
PATIENCE_S = 60

SYMBOLS = [f"SYM{number:04}USDT" for number in range(POSITIONS)]
FILLED = (
    "INSERT INTO orders (quantity, filled_quantity, order_type, status, is_dry_run, id, order_id, signal_id,"
    " asset, side, executed_at)"
    " VALUES (0.05, 0.05, 'Market', 'filled', false, gen_random_uuid(), gen_random_uuid()::text"
)
TICKS = [Decimal(ticks) / 100 for ticks in range(9980, 10030, 3)]


class Run:
    """What one run found: when prices were sent, and what the floors took, both in seconds."""

    def __init__(self) -> None:
        self.breached: dict[str, datetime] = {}
        self.confirms: list[float] = []
        self.commits: list[float] = []


async def results(servers: Servers) -> AsyncIterator[Result]:
    """p50 and p99 of the exit path."""
    with place(servers) as where, tempfile.TemporaryDirectory() as home:
        run, found = await _measured(where, Path(home))
    path = [(row["published_at"] - run.breached[row["symbol"]]).total_seconds() for row in found]
    for percent, target in ((50, None), (99, at_most(GOAL_P99_MS))):
        floor = percentile(run.confirms, percent) + percentile(run.commits, percent)
        yield Result(
            goal=f"8 price to confirmed exit at {UPDATES_PER_S}/s, p{percent}",
            unit="ms",
            rounds=[percentile(path, percent) * 1000],
            floors=[floor * 1000],
            target=target,
        )
    yield Result(
        goal="8 exits that were confirmed",
        unit="%",
        rounds=[100 * len(found) / len(run.breached)],
        target=at_least(100.0),
    )


async def _measured(where: Place, home: Path) -> tuple[Run, list[asyncpg.Record]]:
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(exit_fleet(where.database_url, where.amqp_url, home))
        database = await asyncpg.connect(where.database_url)
        stack.push_async_callback(database.close)
        await _opened(database, fleet)
        port = await stack.enter_async_context(served(fleet.positions))
        await stack.enter_async_context(_worker(fleet, port))
        sender = bus.create_broker(fleet.settings(), service="bench")
        await sender.connect()
        stack.push_async_callback(sender.stop)
        await _evaluated(database, sender)
        run, answering = Run(), asyncio.create_task(_answer(fleet, where.database_url))
        floors = asyncio.create_task(_measure_floors(run, where.database_url, sender))
        await _send(run, sender)
        floors.cancel()
        found = await _published(database, run)
        answering.cancel()
        await asyncio.gather(floors, answering, return_exceptions=True)
        return run, found


# Every position was opened a moment ago by a filled entry of the strategy: what was booked is asked for, too.
async def _opened(database: asyncpg.Connection, fleet: Fleet) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    entries = [(uuid4(), symbol, now) for symbol in SYMBOLS]
    await database.executemany(
        "INSERT INTO trading_signals (id, signal_id, strategy_id, asset, side, price, confidence, timestamp)"
        " VALUES (gen_random_uuid(), $1, 'default', $2, 'buy', 100, 0.9, $3)",
        entries,
    )
    await database.executemany(
        f"{FILLED}, $1, $2, 'Buy', $3)",
        entries,
    )
    for symbol in SYMBOLS:
        fleet.positions.book(symbol, "0.05")


@asynccontextmanager
async def _worker(fleet: Fleet, manager_port: int) -> AsyncIterator[None]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "exit_strategy",
        env={
            **os.environ,
            **KEYS,
            "DATABASE_URL": fleet.database_url,
            "RABBITMQ_URL": fleet.amqp_url,
            "POSITION_MANAGER_PORT": str(manager_port),
            "FEATURE_SERVICE_PORT": str(free_port()),
            "EXIT_STRATEGY_PORT": str(free_port()),
            "EXIT_SPOOL_PATH": str(fleet.home / "exits.jsonl"),
            "DATABASE_STATEMENT_TIMEOUT_MS": "2000",
            "EXIT_PRICE_DEVIATIONS": "1000",  # a breach comes as one price, with no second one to confirm it
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        child.kill()
        await child.wait()


# Until the worker watches every position and has evaluated each of them.
async def _evaluated(database: asyncpg.Connection, sender: Any) -> None:
    count = "SELECT count(*) FROM position_lifecycles WHERE closed_at IS NULL"
    unseen = "SELECT symbol FROM position_lifecycles WHERE last_evaluated_at IS NULL"
    async with asyncio.timeout(PATIENCE_S):
        while await database.fetchval(count) < POSITIONS:
            await asyncio.sleep(0.1)
        while symbols := [row["symbol"] for row in await database.fetch(unseen)]:
            for symbol in symbols:
                await _see(sender, symbol, Decimal(100))
            await asyncio.sleep(0.4)


# One half of the positions is breached, one after the other; the prices of all others go up and down.
async def _send(run: Run, sender: Any) -> None:
    began = time.perf_counter()
    for number in range(UPDATES_PER_S * SECONDS):
        await asyncio.sleep(max(0.0, began + number / UPDATES_PER_S - time.perf_counter()))
        if number % BREACH_EVERY == 0:
            symbol = SYMBOLS[number // BREACH_EVERY]
            run.breached[symbol] = await _see(sender, symbol, Decimal("97.5"))
        else:
            open_yet = POSITIONS - len(run.breached)
            symbol = SYMBOLS[-1 - number % open_yet]
            await _see(sender, symbol, TICKS[number * 7 % len(TICKS)])


async def _see(sender: Any, symbol: str, price: Decimal) -> datetime:
    now = datetime.now(UTC)
    await bus.announce(sender, topology.PRICE_SEEN, PriceSeen(symbol=symbol, price=price, timestamp=now))
    return now


# Each exit is filled at once, and the platform shows and says that its position is closed.
async def _answer(fleet: Fleet, database_url: str) -> None:
    database = await asyncpg.connect(database_url)
    queue = await fleet.channel.declare_queue(topology.TRADING_SIGNALS.name, durable=True)
    async with queue.iterator(no_ack=True) as messages:
        async for message in messages:
            signal = msgspec.json.decode(message.body, type=TradingSignal)
            await database.execute(
                f"{FILLED}, $1, $2, 'SELL', $3)",
                signal.signal_id,
                signal.symbol,
                datetime.now(UTC).replace(tzinfo=None),
            )
            await fleet.closed(signal.symbol)


async def _measure_floors(run: Run, database_url: str, sender: Any) -> None:
    database = await asyncpg.connect(database_url)
    await database.execute("CREATE TABLE floor (id int PRIMARY KEY, value int)")
    await database.execute("INSERT INTO floor VALUES (1, 0)")
    channel = await (await sender.connect()).channel()
    queue = await channel.declare_queue("floor", exclusive=False, durable=True)

    async def confirm() -> None:
        body = aio_pika.Message(b"x" * 1500, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(body, routing_key=queue.name)

    async def commit() -> None:
        await database.execute("UPDATE floor SET value = value + 1")

    while True:
        run.confirms.append(await _took(confirm))
        run.commits.append(await _took(commit))
        await asyncio.sleep(FLOOR_PAUSE_S)


async def _took(work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


# When the transaction of each exit began, and the one after its confirm, by the clock of the same machine.
async def _published(database: asyncpg.Connection, run: Run) -> list[asyncpg.Record]:
    question = "SELECT symbol, created_at, published_at FROM signal_outbox WHERE state = 'published'"
    give_up_at = time.monotonic() + PATIENCE_S
    while len(found := await database.fetch(question)) < len(run.breached) and time.monotonic() < give_up_at:
        await asyncio.sleep(0.1)
    return list(found)
