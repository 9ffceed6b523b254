"""What a worker takes from features.live: everything, and of what waits each symbol's newest vector."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aio_pika
import msgspec
import pytest
from pydantic import SecretStr
from tests.integration.test_bus import dead_letter
from tests.integration.test_inference_worker import vector

from common import bus, settlement, topology
from common.core import letters
from common.errors import TryAgain, Unusable
from common.settings import BusSettings
from inference import vector_feed
from inference.live_vectors import LiveVectors, LiveVectorsLimits
from inference.vector_feed import VectorFeed


class Decider:
    """Decides when it may, as what `fails` says; remembers what it saw."""

    def __init__(self):
        self.may = asyncio.Event()
        self.may.set()
        self.begun = []
        self.decided = []
        self.left_out = []
        self.redelivered = Counter()
        self.fails = lambda vector: None

    async def on_vector(self, vector, *, redelivered):
        self.begun.append(vector)
        self.redelivered[redelivered] += 1
        await self.may.wait()
        if error := self.fails(vector):
            raise error
        self.decided.append(vector)

    def leave_out(self, vector):
        self.left_out.append(vector)

    @property
    def seen(self):
        return len(self.decided) + len(self.left_out)


@asynccontextmanager
async def feeding(amqp_url, decider):
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    live = LiveVectors(LiveVectorsLimits(ttl_s=30, silence_s=5, max_age_s=60))
    feed = VectorFeed(broker, decider, live, bus.dead_letters(broker, service="test"), prefetch=2_000)
    await bus.connect(broker, feed.queue, then=feed.start)
    try:
        yield feed
    finally:
        await feed.stop()
        await broker.stop()


@pytest.fixture
async def queue(amqp_url):
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        yield await channel.declare_queue(topology.FEATURES_LIVE.name, durable=True)


@pytest.fixture
def decider():
    return Decider()


@pytest.fixture
def quick_patience(monkeypatch):
    monkeypatch.setattr(settlement, "IN_PLACE_DELAYS_S", (0.01, 0.01))
    monkeypatch.setattr(settlement, "REQUEUE_DELAY_S", 0.01)


async def send(queue, *vectors):
    for each in vectors:
        body = each if isinstance(each, bytes) else msgspec.json.encode(each)
        await queue.channel.default_exchange.publish(aio_pika.Message(body), routing_key=queue.name)


async def until(condition, limit_s=10):
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


async def left_on(queue):
    return (await queue.channel.declare_queue(queue.name, passive=True)).declaration_result.message_count


def stream(symbol, count):
    now = datetime.now(UTC)
    return [vector(symbol, 100.0 + n, at=now - timedelta(milliseconds=count - n)) for n in range(count)]


async def test_of_what_waits_each_symbols_newest_is_decided_on_and_nothing_twice(
    queue, amqp_url, decider, monkeypatch
):
    monkeypatch.setattr(vector_feed, "DECISIONS", 2)
    symbols = [f"SYM{n}USDT" for n in range(10)]
    streams = {symbol: stream(symbol, 30) for symbol in symbols}
    decider.may.clear()
    async with feeding(amqp_url, decider):
        await send(queue, streams["SYM0USDT"][0], streams["SYM1USDT"][0])
        await until(lambda: len(decider.begun) == 2)
        await send(queue, *(streams[symbol][n] for n in range(1, 30) for symbol in symbols))
        # All but the two that hold up the rest and ten that wait.
        await until(lambda: len(decider.left_out) == 290 - 10)
        decider.may.set()
        await until(lambda: decider.seen == 292)

    last = [each for each in decider.decided if each not in decider.begun[:2]]
    assert len(last) == 10
    assert {each.symbol: each for each in last} == {symbol: streams[symbol][-1] for symbol in symbols}
    assert len({(each.symbol, each.timestamp) for each in decider.decided + decider.left_out}) == 292
    assert await left_on(queue) == 0


async def test_a_worker_that_follows_decides_on_every_vector(queue, amqp_url, decider):
    sent = stream("BTCUSDT", 20)
    async with feeding(amqp_url, decider):
        for each in sent:
            await send(queue, each)
            await until(lambda each=each: decider.decided and decider.decided[-1] == each)

    assert (decider.decided, decider.left_out) == (sent, [])


async def test_a_vector_that_comes_out_of_order_is_left_out(queue, amqp_url, decider, monkeypatch):
    monkeypatch.setattr(vector_feed, "DECISIONS", 1)
    first, older, newer = stream("BTCUSDT", 3)
    decider.may.clear()
    async with feeding(amqp_url, decider):
        await send(queue, first)
        await until(lambda: decider.begun)
        await send(queue, newer, older)
        await until(lambda: decider.left_out)
        decider.may.set()
        await until(lambda: decider.seen == 3)

    assert (decider.decided, decider.left_out) == ([first, newer], [older])


async def test_a_vector_from_the_future_leaves_out_no_other(queue, amqp_url, decider, monkeypatch):
    monkeypatch.setattr(vector_feed, "DECISIONS", 1)
    first, last = stream("BTCUSDT", 2)
    future = vector("BTCUSDT", 1.0, age_s=-3600)
    decider.may.clear()
    async with feeding(amqp_url, decider):
        await send(queue, first)
        await until(lambda: decider.begun)
        await send(queue, future, last)
        decider.may.set()
        await until(lambda: decider.seen == 3)

    assert (decider.decided, decider.left_out) == ([first, future, last], [])


async def test_a_redelivered_vector_is_decided_on_however_many_came_since(
    queue, amqp_url, decider, monkeypatch
):
    monkeypatch.setattr(vector_feed, "DECISIONS", 1)
    monkeypatch.setattr(vector_feed, "STOP_GRACE_S", 0.1)
    begun, *later = stream("BTCUSDT", 4)
    killed = Decider()
    killed.may.clear()
    async with feeding(amqp_url, killed):
        await send(queue, begun)
        await until(lambda: killed.begun)
    # It was stopped while it decided: nobody knows how far it came.

    decider.may.clear()
    async with feeding(amqp_url, decider):
        await until(lambda: decider.begun)
        await send(queue, *later)
        await until(lambda: len(decider.left_out) == 2)
        decider.may.set()
        await until(lambda: decider.seen == 4)

    assert (decider.decided, decider.left_out) == ([begun, later[-1]], later[:-1])
    assert decider.redelivered == {True: 1, False: 1}


async def test_a_stop_settles_what_came(queue, amqp_url, decider):
    sent = [vector(f"SYM{n}USDT", 1.0 + n) for n in range(200)]
    decider.may.clear()
    async with feeding(amqp_url, decider) as feed:
        await send(queue, *sent)
        await until(lambda: len(decider.begun) == vector_feed.DECISIONS)
        stopping = asyncio.create_task(feed.stop())
        await asyncio.sleep(0.05)
        assert not stopping.done()
        decider.may.set()
        await stopping
        # What comes after it stays with the broker.
        await send(queue, vector("ETHUSDT", 1.0))

    assert {each.symbol for each in decider.decided} >= {each.symbol for each in sent[:50]}
    assert len(decider.decided) + await left_on(queue) == 201


async def test_what_cannot_be_used_is_a_dead_letter_and_holds_up_nobody(
    queue, amqp_url, decider, quick_patience
):
    decider.fails = lambda each: Unusable("no such market") if each.symbol == "BADUSDT" else None
    async with feeding(amqp_url, decider):
        await send(queue, b'{"symbol": "BTCUSDT"', vector("GOODUSDT", 1.0))
        await until(lambda: decider.decided)
        letter = await dead_letter(queue.channel)
        assert (letter.body, letter.headers[letters.SERVICE]) == (b'{"symbol": "BTCUSDT"', "test")

        await send(queue, vector("BADUSDT", 1.0), vector("FINEUSDT", 1.0))
        await until(lambda: len(decider.decided) == 2)
        letter = await dead_letter(queue.channel)

    assert letter.headers[letters.REASON] == "Unusable: no such market"
    assert [each.symbol for each in decider.decided] == ["GOODUSDT", "FINEUSDT"]
    assert await left_on(queue) == 0


async def test_what_cannot_be_done_now_is_handed_back_and_done_later(
    queue, amqp_url, decider, quick_patience
):
    troubles = iter([TryAgain("not yet")] * 4)
    decider.fails = lambda each: next(troubles, None)
    async with feeding(amqp_url, decider):
        await send(queue, vector("BTCUSDT", 1.0))
        await until(lambda: decider.decided)

    assert decider.redelivered[True] >= 1
    assert await left_on(queue) == 0


async def test_it_goes_on_when_its_connection_was_lost_or_its_queue_was_deleted(queue, amqp_url, decider):
    async with feeding(amqp_url, decider) as feed:
        connection = await feed._consumer._broker.connect()
        await send(queue, vector("BTCUSDT", 1.0))
        await until(lambda: len(decider.decided) == 1)

        await connection.transport.connection.close(ConnectionError("lost"))
        await send(queue, vector("BTCUSDT", 2.0))
        await until(lambda: len(decider.decided) == 2)

        await queue.delete(if_unused=False, if_empty=False)
        async with asyncio.timeout(10):
            while len(decider.decided) < 3:
                await send(queue, vector("BTCUSDT", 3.0))
                await asyncio.sleep(0.1)


async def test_what_waits_when_the_connection_is_lost_is_decided_on_when_it_comes_again(
    queue, amqp_url, decider, monkeypatch
):
    monkeypatch.setattr(vector_feed, "DECISIONS", 1)
    decider.may.clear()
    async with feeding(amqp_url, decider) as feed:
        await send(queue, vector("AAAAUSDT", 1.0))
        await until(lambda: decider.begun)
        await send(queue, *(vector(f"SYM{n}USDT", 1.0) for n in range(20)))
        await until(lambda: len(feed._newest) == 20)

        connection = await feed._consumer._broker.connect()
        await connection.transport.connection.close(ConnectionError("lost"))
        decider.may.set()
        await until(lambda: decider.redelivered[True] == 21)

    # The first was begun before and could not be acknowledged.
    assert Counter(each.symbol for each in decider.decided) == {
        "AAAAUSDT": 2,
        **{f"SYM{n}USDT": 1 for n in range(20)},
    }
    assert await left_on(queue) == 0


async def test_it_says_whether_it_consumes(queue, amqp_url, decider):
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    live = LiveVectors(LiveVectorsLimits(ttl_s=30, silence_s=5, max_age_s=60))
    unstarted = VectorFeed(broker, decider, live, bus.dead_letters(broker, service="test"), prefetch=2_000)
    assert not await unstarted.is_consuming()
    await unstarted.stop()

    async with feeding(amqp_url, decider) as feed:
        assert await feed.is_consuming()
        await feed.stop()
        assert not await feed.is_consuming()
