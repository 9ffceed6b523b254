"""Where a worker's vectors come from on a real broker: the queue, and REST beside it."""

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aio_pika
import httpx
import msgspec
import pytest
from pydantic import SecretStr
from tests.integration.platform_rows import Platform
from tests.integration.test_inference_worker import (
    Held,
    NoModels,
    assembled,
    policy,
    replica,
    signals_on_the_wire,
    vector,
)
from tests.integration.test_service_processes import answer, process

from common import bus, topology
from common.background import BackgroundTasks, every
from common.core.ids import entry_signal_id
from common.database import create_engine
from common.feature_service import FeatureService
from common.settings import BusSettings, DatabaseSettings, FeatureServiceSettings
from inference import handlers
from inference.feature_fallback import RestVectors, SilentStreams
from inference.live_vectors import LiveVectors, LiveVectorsLimits
from inference.vector_feed import VectorFeed
from sandbox.feature_service import vector_message
from sandbox.market import Market, synthetic_series

SILENCE_S = 0.6
INTERVAL_S = 0.05


class Sandbox:
    """A market that is published and asked for; it can stop publishing, and stop answering."""

    def __init__(self, amqp_url, symbols=("BTCUSDT", "ETHUSDT")):
        series = {symbol: synthetic_series(symbol, seed=1, edge=0.08, bars=200) for symbol in symbols}
        self.market = Market(series, started_at=datetime.now(UTC), bar_seconds=0.5, history_bars=100)
        self.streaming = set(symbols)
        self.hearing = asyncio.Event()
        self.hearing.set()
        self.asked = Counter()
        self._amqp_url = amqp_url

    async def answer(self, request):
        symbol = request.url.params["symbol"]
        self.asked[symbol] += 1
        await self.hearing.wait()
        return httpx.Response(200, json=self.body(symbol))

    def body(self, symbol):
        return vector_message(self.market, symbol, datetime.now(UTC))

    async def stream(self):
        async with await aio_pika.connect(self._amqp_url) as connection:
            channel = await connection.channel()
            await channel.declare_queue("features.live", durable=True)
            while True:
                for symbol in sorted(self.streaming):
                    body = aio_pika.Message(msgspec.json.encode(self.body(symbol)))
                    await channel.default_exchange.publish(body, routing_key="features.live")
                await asyncio.sleep(0.05)


class Recorder:
    """Takes the worker's place."""

    def __init__(self):
        self.seen = Counter()

    async def on_vector(self, vector, *, redelivered):
        self.seen[vector.symbol] += 1

    def leave_out(self, vector):
        self.seen[vector.symbol] += 1


class Replica:
    """A worker's sources, with or without a share of the queue."""

    def __init__(self, sandbox, amqp_url, *, has_queue, symbols):
        self.worker = Recorder()
        self.live = LiveVectors(LiveVectorsLimits(ttl_s=30, silence_s=SILENCE_S, max_age_s=60))
        self.broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
        self.streams = SilentStreams(self.live, lambda: frozenset(symbols))
        self._features = FeatureService(FeatureServiceSettings(), httpx.MockTransport(sandbox.answer))
        take = handlers.taking(self.worker, self.live)
        self.rest = RestVectors(self._features, take, self.streams.symbols, interval_s=INTERVAL_S)
        handlers.subscribe_to_peers(self.broker, self.live)
        dead_letter = bus.dead_letters(self.broker, service="test")
        self.feed = (
            VectorFeed(self.broker, self.worker, self.live, dead_letter, prefetch=2_000)
            if has_queue
            else None
        )

    @asynccontextmanager
    async def running(self):
        await bus.connect(self.broker, topology.FEATURES_LIVE, then=self.feed.start if self.feed else None)
        async with BackgroundTasks() as tasks:
            tasks.start(self.rest.run())
            tasks.start(every(0.1, lambda: self.live.tell(self.broker)))
            yield self
            if self.feed:
                await self.feed.stop()
        await self.broker.stop()
        await self._features.aclose()


@pytest.fixture
def sandbox(amqp_url):
    return Sandbox(amqp_url)


@pytest.fixture
async def streaming(sandbox):
    task = asyncio.create_task(sandbox.stream())
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def until(condition, limit_s=10):
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


async def during(seconds, count):
    before = count()
    await asyncio.sleep(seconds)
    return count() - before


async def test_rest_takes_over_while_a_stream_is_silent_and_ends_when_it_is_back(
    sandbox, streaming, amqp_url, capsys
):
    replica = Replica(sandbox, amqp_url, has_queue=True, symbols=("BTCUSDT", "ETHUSDT"))
    async with replica.running():
        await until(lambda: min(replica.worker.seen["BTCUSDT"], replica.worker.seen["ETHUSDT"]) > 10)
        assert sandbox.asked == {}

        sandbox.streaming.remove("BTCUSDT")
        await until(lambda: sandbox.asked["BTCUSDT"] >= 3)
        seen = replica.worker.seen["BTCUSDT"]
        await until(lambda: replica.worker.seen["BTCUSDT"] > seen + 3)
        assert "BTCUSDT (1 in all)" in await replica.streams.problem()

        sandbox.streaming.add("BTCUSDT")
        await until(lambda: replica.live.silent(["BTCUSDT"]) == ())
        await until(lambda: replica.streams._silent == frozenset())
        assert await during(0.4, lambda: sandbox.asked["BTCUSDT"]) == 0
        assert await replica.streams.problem() is None

    assert sandbox.asked["ETHUSDT"] == 0
    out = capsys.readouterr().out
    assert out.count("stream silent") == out.count("stream back") == 1


async def test_a_replica_without_a_share_of_the_queue_knows_from_its_peers_that_the_streams_are_alive(
    sandbox, streaming, amqp_url
):
    lucky = Replica(sandbox, amqp_url, has_queue=True, symbols=("BTCUSDT", "ETHUSDT"))
    unlucky = Replica(sandbox, amqp_url, has_queue=False, symbols=("BTCUSDT", "ETHUSDT"))
    async with lucky.running(), unlucky.running():
        for _ in range(3):  # twice the silence
            await asyncio.sleep(0.4)
        assert unlucky.worker.seen == {}
        assert sandbox.asked == {}

        sandbox.streaming.clear()
        await until(lambda: all(each.worker.seen["BTCUSDT"] for each in (lucky, unlucky)))
        await until(lambda: sandbox.asked["BTCUSDT"] >= 4)


async def test_a_feature_service_that_does_not_answer_holds_up_nothing_of_the_queue(
    sandbox, streaming, amqp_url
):
    sandbox.hearing.clear()
    sandbox.streaming.remove("ETHUSDT")
    replica = Replica(sandbox, amqp_url, has_queue=True, symbols=("BTCUSDT", "ETHUSDT"))
    async with replica.running():
        await until(lambda: sandbox.asked["ETHUSDT"] == 1)

        handled = await during(0.45, lambda: replica.worker.seen["BTCUSDT"])

        assert handled >= 4
        assert sandbox.asked == {"ETHUSDT": 1}
        sandbox.hearing.set()
        await until(lambda: replica.worker.seen["ETHUSDT"] > 0)


async def test_a_backlog_of_old_vectors_is_drained_fast_and_nothing_of_it_is_acted_on(database_url, amqp_url):
    platform = Platform(database_url)
    await platform.open()
    engine = create_engine(
        DatabaseSettings(database_url=SecretStr(database_url), database_statement_timeout_ms=2000),
        application="test",
    )
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    worker = assembled(policy(), engine, broker, NoModels(), Held())
    live = LiveVectors(LiveVectorsLimits(ttl_s=30, silence_s=5, max_age_s=60))
    seen = Counter()

    class Counting:
        async def on_vector(self, vector, *, redelivered):
            await worker.on_vector(vector, redelivered=redelivered)
            seen[vector.symbol] += 1

        def leave_out(self, vector):
            worker.leave_out(vector)
            seen[vector.symbol] += 1

    old = [vector("BTCUSDT", 100.0 + n / 100, age_s=1_500 - n / 2) for n in range(2_000)]
    assert max(each.timestamp for each in old) < datetime.now(UTC) - timedelta(seconds=400)
    feed = VectorFeed(broker, Counting(), live, bus.dead_letters(broker, service="test"), prefetch=2_000)
    await put_on_the_queue(amqp_url, old)
    begun = time.monotonic()
    await bus.connect(broker, topology.FEATURES_LIVE, topology.TRADING_SIGNALS, then=feed.start)
    try:
        await until(lambda: seen["BTCUSDT"] == len(old), limit_s=30)
        took_s = time.monotonic() - begun
        assert live.latest("BTCUSDT") is None
        assert await signals_on_the_wire(amqp_url) == []
        assert await platform.rows("SELECT 1 FROM signal_outbox") == []

        fresh = vector("BTCUSDT", 99.0)
        await put_on_the_queue(amqp_url, [fresh])
        await until(lambda: seen["BTCUSDT"] == len(old) + 1)
    finally:
        await feed.stop()
        await broker.stop()

    [(_, signal)] = await signals_on_the_wire(amqp_url)
    assert signal.signal_id == entry_signal_id("momentum", "BTCUSDT", fresh.timestamp)
    await worker._outcomes.flush(engine)
    await engine.dispose()
    [counted] = await platform.rows(
        "SELECT sum(skips)::int AS n, string_agg(DISTINCT reason, ' ' ORDER BY reason) AS reasons"
        " FROM skip_counts"
    )
    assert counted == {"n": 2_000, "reasons": "vector_stale vector_superseded"}
    # 2,000 vectors are 23 minutes of a symbol's stream.
    assert took_s < 20


async def put_on_the_queue(amqp_url, vectors):
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("features.live", durable=True)
        for each in vectors:
            await channel.default_exchange.publish(
                aio_pika.Message(msgspec.json.encode(each)), routing_key="features.live"
            )


async def test_replicas_that_poll_one_symbol_make_one_signal_of_their_different_vectors(
    database_url, amqp_url
):
    platform = Platform(database_url)
    await platform.open()
    async with (
        replica(database_url, amqp_url, policy(), "replica-1") as one,
        replica(database_url, amqp_url, policy(), "replica-2") as two,
    ):
        for each in (one, two):
            await each.on_vector(vector(price=101.0, age_s=61), redelivered=False)
        now = datetime.now(UTC)
        for moment in range(5):
            polled = (
                (each, vector(price=100.0 + moment, at=now + timedelta(milliseconds=10 * moment + n)))
                for n, each in enumerate((one, two))
            )
            await asyncio.gather(*(each.on_vector(came, redelivered=False) for each, came in polled))

    assert len(await signals_on_the_wire(amqp_url)) == 1
    assert await platform.rows("SELECT count(*)::int AS n FROM signal_outbox") == [{"n": 1}]


@asynccontextmanager
async def feature_service(sandbox):
    """The sandbox's vectors over HTTP; yields its port."""

    async def answer(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        symbol = request.split(b"symbol=")[1].split()[0].decode()
        sandbox.asked[symbol] += 1
        body = msgspec.json.encode(sandbox.body(symbol))
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode())
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("uses_queue", [True, False])
async def test_a_worker_decides_on_polled_vectors_where_the_queue_brings_none(
    sandbox, database_url, amqp_url, tmp_path, uses_queue
):
    platform = Platform(database_url)
    await platform.open()
    async with (
        feature_service(sandbox) as port,
        process(
            "inference",
            tmp_path,
            DATABASE_URL=database_url,
            RABBITMQ_URL=amqp_url,
            FEATURE_SERVICE_PORT=str(port),
            FEATURE_SERVICE_USE_QUEUE=str(uses_queue),
            FEATURE_STREAM_SILENCE_SECONDS="2",
        ) as (_, url),
    ):
        ready = await answer(f"{url}/health/ready", 200)
        await until(lambda: sandbox.asked["BTCUSDT"] >= 4, limit_s=20)
        async with asyncio.timeout(10):
            while not (bars := await platform.rows("SELECT symbol, vectors FROM minute_bars")):
                await asyncio.sleep(0.1)
        health = await answer(f"{url}/health", 200)
        metrics = await answer(f"{url}/metrics", 200)

    assert ready.status_code == 200
    assert {bar["symbol"] for bar in bars} == {"BTCUSDT"}
    assert ("streams" in health.json()["problems"]) == uses_queue
    assert 'flotilla_features_polled_total{result="answered"}' in metrics.text
    assert set(sandbox.asked) == {"BTCUSDT"}
