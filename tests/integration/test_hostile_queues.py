"""Every hostile body on every queue that we read: each has a reason, and the next good message is handled.

A service process reads them from the real broker. What its decoder cannot read must end as a letter (or as a
kept position update) with a reason; what it can read must end without one.
"""

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import aio_pika
import msgspec
import pytest
import uvicorn
from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine
from tests.integration.corpus import hostile
from tests.integration.fake_position_manager import FakePositionManager
from tests.integration.test_service_processes import answer, process

from common import tables, topology
from common.errors import UNREADABLE
from common.messages import (
    DatasetReady,
    FeaturesHeard,
    FeatureVector,
    OrderEvent,
    PositionChanged,
    PriceSeen,
    VersionActivated,
)
from exit_strategy import failed_updates
from sandbox.ports import free_port

PATIENCE_S = 25.0
GROWTH_BYTES = 192 * 2**20
"""What a process may have grown by: prefetched bodies of 5 MB, and what reading them takes."""
AT = datetime.now(UTC).isoformat()
VECTOR = {
    "timestamp": AT,
    "symbol": "BTCUSDT",
    "features": {"mid_price": 1.5},
    "feature_registry_version": "1",
}
READY = {"dataset_id": str(uuid4()), "symbol": "BTCUSDT", "status": "ready", "train_records": 7}
UPDATE = {"asset": "BTCUSDT", "size": "0.5", "timestamp": AT, "update_source": "order_execution"}
ORDER = {"event_type": "filled", "order": {"order_id": "o-1"}, "timestamp": AT, "market_conditions": None}
ACTIVATED = {"strategy_id": "momentum", "version": "v1", "epoch": 1, "sha256": None, "activated_at": AT}
CHANGED = {"symbol": "BTCUSDT", "size": "0.5", "timestamp": AT}
HEARD = {"symbols": ["BTCUSDT"], "at": AT}
SEEN = {"symbol": "BTCUSDT", "price": "100.5", "timestamp": AT}
HEADERS = [
    {},
    {"trace_id": "\x1b[31m\r\nforged"},
    {"trace_id": 7, "nested": {"deep": [1, {"a": bytearray(b"\xff\x00")}]}},
    {"trace_id": bytearray(b"\xff")},
    {"x" * 250: "a name with no room for a prefix"},
    {"long": "x" * 100_000},
    {"reason": "forged", "letter_id": "no uuid", "failed_at": "never", "queue": "features.live"},
    {"at": datetime(9999, 12, 31, tzinfo=UTC)},
    {f"many{number}": number for number in range(2000)},
]


class Wire:
    """The test's own hand on the broker and the database."""

    def __init__(self, channel, engine):
        self.channel = channel
        self._engine = engine

    async def send(self, bodies, queue="", exchange=None, headers=()):
        target = self.channel.default_exchange
        if exchange is not None:
            target = await self.exchange(exchange)
        for number, body in enumerate(bodies):
            told = headers[number % len(headers)] if headers else None
            message = aio_pika.Message(body, headers=told, content_type="application/json")
            await target.publish(message, routing_key=queue)

    async def exchange(self, exchange):
        return await self.channel.declare_exchange(exchange.name, "fanout", durable=True)

    async def until(self, table, column, count, **where):
        """The rows of `table`, once there are `count`, each a dictionary."""
        wanted = select(table).where(*(table.c[name] == value for name, value in where.items()))
        rows = []
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while len(rows := await self._read(wanted)) < count:
                    await asyncio.sleep(0.1)
        assert len(rows) == count, [row[column][:60] for row in rows][-5:]
        return rows

    async def letters(self, count, queue, service):
        rows = await self.until(tables.dead_letters, "reason", count, queue=queue, service=service)
        assert all(row["reason"] for row in rows)
        return rows

    async def waiting(self, queue):
        return (await self.channel.declare_queue(queue, passive=True)).declaration_result.message_count

    async def _read(self, statement):
        async with self._engine.connect() as connection:
            return [dict(row._mapping) for row in await connection.execute(statement)]


@pytest.fixture
async def wire(database_url, amqp_url, tmp_path):
    (tmp_path / "api").mkdir()
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"))
    connection = await aio_pika.connect(amqp_url)
    where = {"DATABASE_URL": database_url, "RABBITMQ_URL": amqp_url}
    async with connection, process("api", tmp_path / "api", **where) as (child, url):
        await answer(f"{url}/health/ready", 200)
        before = resident(child)
        yield Wire(await connection.channel(), engine)
        await answer(f"{url}/health/ready", 200)
        assert resident(child) - before < GROWTH_BYTES
    await engine.dispose()


@pytest.fixture
def started(database_url, amqp_url, tmp_path):
    @asynccontextmanager
    async def start(service, **variables):
        home = tmp_path / service
        home.mkdir()
        where = {"DATABASE_URL": database_url, "RABBITMQ_URL": amqp_url, **variables}
        async with process(service, home, **where) as (child, url):
            await answer(f"{url}/health/ready", 200)
            before = resident(child)
            yield url, home / "log"
            assert child.returncode is None
            await answer(f"{url}/health/ready", 200)
            assert resident(child) - before < GROWTH_BYTES

    return start


@asynccontextmanager
async def flat_positions():
    """A Position Manager without a single position; yields its port."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(FakePositionManager(), host="127.0.0.1", port=port, log_config=None)
    )
    serving = asyncio.create_task(server.serve())
    try:
        yield str(port)
    finally:
        server.should_exit = True
        await serving


def resident(child):
    pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1])
    return pages * 4096


def bodies_of(good):
    found = [body for _, body in hostile(good)]
    assert len(found) >= 200
    return found


def unreadable(bodies, message_type):
    decoder = msgspec.json.Decoder(message_type)

    def fails(body):
        try:
            decoder.decode(body)
        except UNREADABLE:
            return True
        return False

    return [body for body in bodies if fails(body)]


async def logged(path, *words):
    async with asyncio.timeout(PATIENCE_S):
        while not any(all(word in line for word in words) for line in path.read_text().splitlines()):
            await asyncio.sleep(0.1)


async def test_what_inference_reads(wire, started):
    async with started("inference", TRADING_STRATEGIES="momentum") as (_, log):
        bodies = bodies_of(VECTOR)
        await wire.send(bodies, "features.live", headers=HEADERS)
        bad = unreadable(bodies, FeatureVector)
        kept = await wire.letters(len(bad), "features.live", "inference")
        assert {row["body"] for row in kept} == set(bad)

        for exchange, good, kind in (
            (topology.MODEL_ACTIVATED, ACTIVATED, VersionActivated),
            (topology.POSITION_CHANGED, CHANGED, PositionChanged),
            (topology.FEATURES_HEARD, HEARD, FeaturesHeard),
        ):
            bodies = bodies_of(good)
            await wire.send([*bodies, json.dumps(good).encode(), b"the last one"], exchange=exchange)
            bad += [*unreadable(bodies, kind), b"the last one"]
            hints = [*bad[len(kept) :]]
            await wire.letters(len(hints), "", "inference")

        good = {**VECTOR, "timestamp": datetime.now(UTC).isoformat(), "symbol": "BTCUSDT"}
        await wire.send([json.dumps(good).encode()], "features.live")
        at = datetime.fromisoformat(good["timestamp"])
        await wire.until(tables.latest_outcomes, "reason", 1, feature_timestamp=at)
        assert "Traceback" not in log.read_text()
    assert await wire.waiting("features.live") == 0


async def test_what_the_exit_strategy_reads(wire, started):
    async with flat_positions() as port, started("exit_strategy", POSITION_MANAGER_PORT=port) as (_, log):
        bodies = bodies_of(UPDATE)
        changes_of = await wire.exchange(topology.POSITION_CHANGED)
        heard = await wire.channel.declare_queue(exclusive=True)
        await heard.bind(changes_of)
        await wire.send(bodies, "position-manager.position_updated", headers=HEADERS)
        bad = [body for body in bodies if failed_updates.read(body, datetime.now(UTC)).update is None]
        kept = await wire.until(tables.failed_position_updates, "reason", len(bad))
        assert all(row["reason"] and row["body"] is not None for row in kept)

        bodies = bodies_of(SEEN)
        await wire.send([*bodies, json.dumps(SEEN).encode(), b"the last one"], exchange=topology.PRICE_SEEN)
        await wire.letters(len(unreadable(bodies, PriceSeen)) + 1, "", "exit_strategy")

        good = {**UPDATE, "asset": "GOODUSDT", "timestamp": datetime.now(UTC).isoformat()}
        await wire.send([json.dumps(good).encode()], "position-manager.position_updated")
        async with asyncio.timeout(PATIENCE_S), heard.iterator(no_ack=True) as changes:
            async for change in changes:
                if json.loads(change.body)["symbol"] == "GOODUSDT":
                    break
        assert "Traceback" not in log.read_text()
    assert await wire.waiting("position-manager.position_updated") == 0


async def test_what_the_trainer_reads(wire, started):
    async with started("trainer", EXECUTION_SOURCE="queue") as (_, log):
        bodies = bodies_of(READY)
        await wire.send(bodies, "features.dataset.ready", headers=HEADERS)
        bad = unreadable(bodies, DatasetReady)
        kept = await wire.letters(len(bad), "features.dataset.ready", "trainer")
        assert {row["body"] for row in kept} == set(bad)

        bodies = bodies_of(ORDER)
        await wire.send(bodies, "order-manager.order_events", headers=HEADERS)
        bad = unreadable(bodies, OrderEvent)
        kept = await wire.letters(len(bad), "order-manager.order_events", "trainer")
        assert {row["body"] for row in kept} == set(bad)

        announced, order = str(uuid4()), {"order_id": "the good one"}
        await wire.send([json.dumps({**READY, "dataset_id": announced}).encode()], "features.dataset.ready")
        await wire.send([json.dumps({**ORDER, "order": order}).encode()], "order-manager.order_events")
        await logged(log, announced)
        await logged(log, "the good one")
        assert "Traceback" not in log.read_text()
    assert await wire.waiting("features.dataset.ready") == 0
    assert await wire.waiting("order-manager.order_events") == 0


async def test_what_the_collector_of_dead_letters_reads(wire):
    bodies = bodies_of(VECTOR)
    await wire.channel.declare_queue(
        topology.DEAD_LETTERS.name, durable=True, arguments={"x-queue-type": "quorum"}
    )
    await wire.send(bodies, topology.DEAD_LETTERS.name, headers=HEADERS)
    kept = await wire.until(tables.dead_letters, "body", len(bodies))
    assert {row["body"] for row in kept} == set(bodies)
    assert await wire.waiting(topology.DEAD_LETTERS.name) == 0
