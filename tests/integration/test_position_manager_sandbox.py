"""The simulated Position Manager on a real broker and a real database."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aio_pika
import asyncpg
import httpx
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import ChannelNotFoundEntity
from tests.cable import Cable

from sandbox.position_manager import ORDER_EVENTS_QUEUE, UPDATES_QUEUE, PositionManager, create_app

PATIENCE_S = 15


class Bench:
    """A running Position Manager with a hand on its queues, its REST surface and its table."""

    def __init__(
        self,
        manager: PositionManager,
        connection: aio_pika.abc.AbstractConnection,
        database: asyncpg.Connection,
    ) -> None:
        self.manager = manager
        self.connection = connection
        self.database = database
        self.updates: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(manager, api_key="key")),  # type: ignore[arg-type]
            base_url="http://position-manager",
            headers={"X-API-Key": "key"},
        )

    async def listen(self) -> None:
        self.channel = await self.connection.channel()
        await self.channel.declare_queue(ORDER_EVENTS_QUEUE, durable=True)
        updates = await self.channel.declare_queue(UPDATES_QUEUE, durable=True)
        await updates.consume(self.updates.put, no_ack=True)

    async def send(self, body: object) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.channel.default_exchange.publish(aio_pika.Message(text), routing_key=ORDER_EVENTS_QUEUE)

    async def update(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            message = await self.updates.get()
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        assert len(message.message_id or "") == 32
        assert message.headers == {}
        return dict(json.loads(message.body))

    async def shown(self, symbol: str = "BTCUSDT") -> dict[str, Any]:
        answer = await self.http.get(f"/api/v1/positions/{symbol}")
        assert answer.status_code == 200
        return dict(answer.json())


@asynccontextmanager
async def running(database_url: str, amqp_url: str, *, line: str | None = None) -> AsyncIterator[Bench]:
    """`line`: where the Position Manager finds its broker, if not at `amqp_url`."""
    manager = PositionManager(database_url=database_url, amqp_url=line or amqp_url)
    task = asyncio.create_task(manager.run())
    async with await aio_pika.connect(amqp_url) as connection:
        database = await asyncpg.connect(database_url)
        bench = Bench(manager, connection, database)
        await bench.listen()
        async with bench.http:
            yield bench
        await database.close()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def bench(empty_database_url, amqp_url):
    async with running(empty_database_url, amqp_url) as ready:
        yield ready


def event(
    quantity: str, price: str, *, side: str = "Buy", order_id: str | None = None, status: str = "filled"
) -> dict[str, Any]:
    """An order event as the Order Manager sends it; `quantity` is what is filled of the order by now."""
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": status,
        "timestamp": "2026-11-22T13:10:51.721604",
        "trace_id": str(uuid.uuid4()),
        "order": {
            "id": str(uuid.uuid4()),
            "order_id": order_id or str(uuid.uuid4()),
            "signal_id": str(uuid.uuid4()),
            "asset": "BTCUSDT",
            "side": side,
            "order_type": "Market",
            "quantity": "1.00000000",
            "price": None,
            "status": status,
            "filled_quantity": quantity,
            "average_price": price,
            "fees": "0.05000000",
        },
        "market_conditions": {"price": 80.5},
    }


async def test_fills_open_close_and_reopen_one_row(bench):
    for change in [event("0.05", "92000.5"), event("0.05", "92498", side="SELL")]:
        await bench.send(change)
    opened, closed = await bench.update(), await bench.update()
    row = await bench.shown()
    await bench.send(event("0.02", "92000", side="SELL"))
    reopened = await bench.update()

    assert [opened["size"], closed["size"], reopened["size"]] == ["0.05000000", "0E-8", "-0.02000000"]
    assert opened["position_id"] == closed["position_id"] == reopened["position_id"]
    assert (row["size"], row["realized_pnl"], row["average_entry_price"]) == ("0E-8", "24.87500000", None)
    assert row["closed_at"] is not None
    again = await bench.shown()
    assert (again["created_at"], again["closed_at"], again["version"]) == (row["created_at"], None, 3)
    assert (again["average_entry_price"], again["realized_pnl"]) == ("92000.00000000", "24.87500000")
    assert await bench.database.fetchval("SELECT count(*) FROM positions") == 1


async def test_partial_fills_are_cumulative_and_repeats_change_nothing(bench):
    parts = [
        event("0.4", "100", order_id="o-1", status="partially_filled"),
        event("0.4", "100", order_id="o-1", status="partially_filled"),
        event("1", "103", order_id="o-1"),  # the part in between was silent
        event("1", "103", order_id="o-1"),
        event("0.4", "100", order_id="o-1", status="partially_filled"),
        event("0.5", "110", side="SELL", order_id="o-2"),
    ]
    for part in parts:
        await bench.send(part)
    updates = [await bench.update() for _ in range(3)]

    assert [update["size"] for update in updates] == ["0.40000000", "1.00000000", "0.50000000"]
    assert [update["realized_pnl"] for update in updates] == ["0E-8", "0E-8", "3.50000000"]
    assert (await bench.shown())["average_entry_price"] == "103.00000000"
    assert bench.updates.empty()


async def test_what_was_filled_of_a_cancelled_order_counts(bench):
    await bench.send(event("0.4", "100", order_id="o-1", status="partially_filled"))
    await bench.send(event("0.8", "100", order_id="o-1", status="cancelled"))

    assert [(await bench.update())["size"] for _ in range(2)] == ["0.40000000", "0.80000000"]


@pytest.mark.parametrize(
    "nothing", [b"not json", b"[" * 100_000, {"order": None}, event("0E-8", "100", status="cancelled")]
)
async def test_an_event_without_a_fill_changes_and_announces_nothing(bench, nothing):
    await bench.send(nothing)
    await bench.send(event("0.1", "100"))

    assert (await bench.update())["size"] == "0.10000000"
    assert (await bench.shown())["version"] == 1


async def test_the_queue_exists_only_after_the_first_fill(empty_database_url, amqp_url):
    manager = PositionManager(database_url=empty_database_url, amqp_url=amqp_url)
    task = asyncio.create_task(manager.run())
    async with await aio_pika.connect(amqp_url) as connection, asyncio.timeout(PATIENCE_S):
        await manager.ready.wait()
        with pytest.raises(ChannelNotFoundEntity):
            await (await connection.channel()).declare_queue(UPDATES_QUEUE, passive=True)
        exchange = (await connection.channel()).default_exchange
        message = aio_pika.Message(json.dumps(event("0.1", "100")).encode())
        await exchange.publish(message, routing_key=ORDER_EVENTS_QUEUE)
        while True:
            with suppress(ChannelNotFoundEntity):
                queue = await (await connection.channel()).declare_queue(UPDATES_QUEUE, passive=True)
                if await queue.get(no_ack=True, fail=False):
                    break
            await asyncio.sleep(0.02)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_restart_finds_its_positions_and_knows_what_it_has_booked(empty_database_url, amqp_url):
    first = event("0.4", "100", order_id="o-1", status="partially_filled")
    async with running(empty_database_url, amqp_url) as bench:
        await bench.send(first)
        before = await bench.update()

    async with running(empty_database_url, amqp_url) as bench:
        await bench.send(first)
        await bench.send(event("1", "100", order_id="o-1"))
        after = await bench.update()

    assert (before["size"], after["size"]) == ("0.40000000", "1.00000000")
    assert before["position_id"] == after["position_id"]


async def test_lost_database_connections_delay_a_fill_but_do_not_lose_it(bench):
    await bench.send(event("0.1", "100"))
    await bench.update()

    await bench.database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await bench.send(event("0.2", "100"))

    assert (await bench.update())["size"] == "0.30000000"


async def test_it_waits_for_a_broker_and_rides_through_the_loss_of_it(empty_database_url, amqp_url):
    cable = Cable(amqp_url)
    async with running(empty_database_url, amqp_url, line=cable.url) as bench:
        await bench.send(event("0.1", "100"))
        early = await bench.http.get("/health")
        await cable.plug()
        first = await bench.update()
        await cable.unplug()
        await bench.send(event("0.2", "100"))
        await cable.plug()
        second = await bench.update()
        health = await bench.http.get("/health")
    await cable.unplug()

    assert early.json()["queue_connected"] is False
    assert [first["size"], second["size"]] == ["0.10000000", "0.30000000"]
    assert (health.json()["status"], health.json()["positions_count"]) == ("healthy", 1)


@pytest.mark.parametrize("key", ["wrong", "", "KEY"])
async def test_a_wrong_key_is_refused(bench, key):
    answer = await bench.http.get("/api/v1/positions", headers={"X-API-Key": key})

    assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid or missing API key"})
