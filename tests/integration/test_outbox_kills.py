"""A worker killed at any step of its publish: one id a vector, every intent ends, none is late."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aio_pika
import msgspec
import pytest
from tests.integration.platform_rows import Platform, flat_position_manager

from common.messages import TradingSignal
from sandbox.ports import free_port

DYING = Path(__file__).with_name("dying_inference.py")
VALIDITY_S = 4.0


@asynccontextmanager
async def process(database_url, amqp_url, *argv):
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "RABBITMQ_URL": amqp_url,
        "INFERENCE_PORT": str(free_port()),
        "WARMUP_SIGNAL_FREQUENCY": "60000",
        "WARMUP_RANDOMNESS_LEVEL": "0",
        "SIGNAL_VALIDITY_SECONDS": str(VALIDITY_S),
        "DATABASE_STATEMENT_TIMEOUT_MS": "5000",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    async with flat_position_manager() as port:
        environment["POSITION_MANAGER_PORT"] = str(port)
        child = await asyncio.create_subprocess_exec(
            sys.executable, *argv, env=environment, stdout=sys.stderr
        )
        try:
            yield child
        finally:
            if child.returncode is None:
                child.terminate()
                await child.wait()


class Wire:
    """What a neighbour sees: sends vectors, keeps every signal with the time of its arrival."""

    def __init__(self, channel):
        self._channel = channel
        self.signals = []

    async def listen(self):
        queue = await self._channel.declare_queue("model-service.trading_signals", durable=True)
        await self._channel.declare_queue("features.live", durable=True)
        await queue.consume(self._keep)

    async def vector(self, price, age_s=0.0):
        body = {
            "timestamp": (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat(),
            "symbol": "BTCUSDT",
            "features": {"mid_price": price, "returns_1s": -0.001},
            "feature_registry_version": "1.0.0",
        }
        message = aio_pika.Message(json.dumps(body).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await self._channel.default_exchange.publish(message, routing_key="features.live")

    async def _keep(self, message):
        self.signals.append((datetime.now(UTC), msgspec.json.decode(message.body, type=TradingSignal)))
        await message.ack()


@pytest.fixture
async def wire(amqp_url):
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        opened = Wire(await connection.channel())
        await opened.listen()
        yield opened


@pytest.fixture
async def platform(database_url):
    rows = Platform(database_url)
    await rows.open()
    return rows


async def until(holds, limit_s=25.0):
    async with asyncio.timeout(limit_s):
        while not await holds():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("step", ["deciding", "claimed", "published", "settling", "recorded"])
async def test_the_next_worker_finishes_what_a_killed_one_began(step, database_url, amqp_url, wire, platform):
    await wire.vector(99.0, age_s=0.5)
    await wire.vector(100.0)
    async with process(database_url, amqp_url, str(DYING), step) as dying:
        assert await asyncio.wait_for(dying.wait(), 20) == -9

    if step == "deciding":
        # Nothing was committed; the next market that moves is decided on, and the fleet's lock is free.
        assert await platform.rows("SELECT 1 FROM signal_outbox") == []
        await wire.vector(101.0)

    async def all_ended():
        states = {row["state"] for row in await platform.rows("SELECT state FROM signal_outbox")}
        return states in ({"published"}, {"expired"})

    async with process(database_url, amqp_url, "-m", "inference"):
        await until(all_ended)

    [intent] = await platform.rows("SELECT * FROM signal_outbox")
    recorded = await platform.rows("SELECT signal_id FROM trading_signals")
    assert all(arrived <= intent["valid_until"] for arrived, _ in wire.signals)
    assert {signal.signal_id for _, signal in wire.signals} <= {intent["signal_id"]}
    assert len({msgspec.json.encode(signal) for _, signal in wire.signals}) <= 1
    if intent["state"] == "published":
        assert [row["signal_id"] for row in recorded] == [intent["signal_id"]]
        assert wire.signals
    else:
        assert intent["reason"]
        assert not recorded


async def test_an_intent_found_after_its_validity_is_expired_with_its_reason(
    database_url, amqp_url, wire, platform
):
    await wire.vector(99.0, age_s=0.5)
    await wire.vector(100.0)
    async with process(database_url, amqp_url, str(DYING), "claimed") as dying:
        assert await asyncio.wait_for(dying.wait(), 20) == -9
    await platform.execute("UPDATE signal_outbox SET valid_until = now() - interval '1 second'")

    async def all_ended():
        return await platform.rows("SELECT 1 FROM signal_outbox WHERE state = 'expired'")

    async with process(database_url, amqp_url, "-m", "inference"):
        await until(all_ended)

    [intent] = await platform.rows("SELECT reason FROM signal_outbox")
    assert intent["reason"] == "its validity had ended"
    assert wire.signals == []
    assert await platform.rows("SELECT 1 FROM trading_signals") == []


async def test_an_entry_found_after_the_fleet_was_halted_is_expired_and_not_sent(
    database_url, amqp_url, wire, platform
):
    await wire.vector(99.0, age_s=0.5)
    await wire.vector(100.0)
    async with process(database_url, amqp_url, str(DYING), "claimed") as dying:
        assert await asyncio.wait_for(dying.wait(), 20) == -9
    await platform.execute(
        "UPDATE signal_outbox SET valid_until = now() + interval '1 minute', lease_until = now()"
    )
    await platform.execute("INSERT INTO trading_states VALUES ('fleet', 'HALTED', 'me', 'stop', now())")

    async def all_ended():
        return await platform.rows("SELECT 1 FROM signal_outbox WHERE state = 'expired'")

    async with process(database_url, amqp_url, "-m", "inference"):
        await until(all_ended)

    [intent] = await platform.rows("SELECT reason FROM signal_outbox")
    assert intent["reason"] == "trading state HALTED before it was published"
    assert wire.signals == []
    assert await platform.rows("SELECT 1 FROM trading_signals") == []
