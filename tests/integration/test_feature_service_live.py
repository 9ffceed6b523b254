"""features.live, as it really arrives from the sandbox's Feature Service."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import aio_pika
import pytest
import structlog.testing

from sandbox.feature_service import QUEUE, publish_live
from sandbox.market import Market, Series, synthetic_series
from sandbox.ports import free_port


@pytest.fixture
def market():
    series = {
        symbol: synthetic_series(symbol, seed=1, edge=0.08, bars=200) for symbol in ("BTCUSDT", "ETHUSDT")
    }
    return Market(series, started_at=datetime.now(UTC), bar_seconds=0.5, history_bars=100)


async def received(amqp_url: str, vectors: int) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """The first messages of a queue declared as every consumer of the platform declares it."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(QUEUE, durable=True)
        messages = []
        async with asyncio.timeout(10), queue.iterator(no_ack=True) as incoming:
            async for message in incoming:
                messages.append(message)
                if len(messages) == vectors:
                    break
        return messages


@asynccontextmanager
async def published(market: Market, amqp_url: str) -> AsyncIterator[None]:
    task = asyncio.create_task(publish_live(market, amqp_url, rhythm_s=(0.02, 0.05)))
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
async def publishing(market, amqp_url):
    async with published(market, amqp_url):
        yield


class Line:
    """A TCP line to the broker that can be cut and laid anew on one port."""

    def __init__(self, amqp_url: str) -> None:
        target = urlsplit(amqp_url)
        self._target = (target.hostname, target.port)
        self._port = free_port(None)
        self.url = target._replace(
            netloc=f"{target.username}:{target.password}@127.0.0.1:{self._port}"
        ).geturl()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[None]:
        ends: list[asyncio.StreamWriter] = []

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while chunk := await reader.read(65536):
                writer.write(chunk)
            writer.close()

        async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back, forth = await asyncio.open_connection(*self._target)
            ends.extend((writer, forth))
            await asyncio.gather(pump(reader, forth), pump(back, writer), return_exceptions=True)

        server = await asyncio.start_server(join, "127.0.0.1", self._port)
        try:
            yield
        finally:
            server.close()
            for end in ends:
                end.close()
            await asyncio.gather(*(end.wait_closed() for end in ends), return_exceptions=True)


async def test_vectors_carry_the_properties_of_the_real_service(publishing, amqp_url):
    (message,) = await received(amqp_url, vectors=1)

    assert message.content_type == "application/json"
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.headers == {}
    assert message.expiration is None
    assert message.exchange == ""
    assert message.routing_key == "features.live"


async def test_a_vector_is_what_the_market_was_at_its_timestamp(publishing, amqp_url, market):
    for message in await received(amqp_url, vectors=20):
        vector = json.loads(message.body)
        computed_at = datetime.fromisoformat(vector["timestamp"])

        assert list(vector) == ["timestamp", "symbol", "features", "feature_registry_version"]
        assert vector["timestamp"].endswith("Z")
        assert abs(datetime.now(UTC) - computed_at) < timedelta(seconds=10)
        assert vector["features"] == market.vector(vector["symbol"], computed_at)


async def test_every_symbol_is_published_at_every_rhythm(publishing, amqp_url):
    symbols = Counter(json.loads(message.body)["symbol"] for message in await received(amqp_url, vectors=42))

    # 0.02 s and 0.05 s: seven vectors in 0.1 s and symbol
    assert symbols.keys() == {"BTCUSDT", "ETHUSDT"}
    assert abs(symbols["BTCUSDT"] - symbols["ETHUSDT"]) <= 4


async def test_it_waits_for_a_broker_and_survives_the_loss_of_it(market, amqp_url):
    line = Line(amqp_url)
    async with published(market, line.url):
        await asyncio.sleep(0.1)
        async with line.laid():
            await received(amqp_url, vectors=10)
        cut_at = datetime.now(UTC)
        async with line.laid():
            while True:
                (message,) = await received(amqp_url, vectors=1)
                if datetime.fromisoformat(json.loads(message.body)["timestamp"]) > cut_at:
                    break


async def test_a_market_that_ended_is_told_once_and_goes_on_under_fresh_timestamps(amqp_url):
    ended = Series(synthetic_series("BTCUSDT", seed=1, edge=0.0, bars=120).candles(119).part(0, 120))
    started_at = datetime.now(UTC) - timedelta(hours=1)
    market = Market({"BTCUSDT": ended}, started_at=started_at, bar_seconds=0.5, history_bars=100)

    with structlog.testing.capture_logs() as logs:
        async with published(market, amqp_url):
            vectors = [json.loads(message.body) for message in await received(amqp_url, vectors=10)]

    assert [entry["event"] for entry in logs if entry["event"].startswith("candles exhausted")] == [
        "candles exhausted, the same features go on under fresh timestamps"
    ]
    assert len({vector["timestamp"] for vector in vectors}) == 10
    assert all(vector["features"] == vectors[0]["features"] for vector in vectors)
