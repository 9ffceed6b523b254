"""The bus on a real broker: nothing is lost, nothing blocks, nothing is silent."""

import asyncio
import json
from contextlib import asynccontextmanager
from uuid import UUID

import aio_pika
import pytest
from faststream.rabbit import RabbitQueue
from pydantic import SecretStr
from sqlalchemy.exc import TimeoutError as PoolTimeout

from common import bus, settlement, topology, tracing
from common.errors import TryAgain, Unroutable, Unusable
from common.messages import FeatureVector
from common.settings import BusSettings

VECTOR = {
    "timestamp": "2026-11-22T13:05:55.037185Z",
    "symbol": "BTCUSDT",
    "features": {"mid_price": 100.0},
    "feature_registry_version": "1.0.0",
}
SIGNAL_ID = UUID(int=7)


@asynccontextmanager
async def consuming(amqp_url, handler, *queues):
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    broker.subscriber(topology.FEATURES_LIVE, decoder=bus.decoding(FeatureVector))(handler)
    await bus.connect(broker, topology.FEATURES_LIVE, *queues)
    try:
        yield broker
    finally:
        await broker.stop()


@pytest.fixture
async def channel(amqp_url):
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        yield await connection.channel()


@pytest.mark.parametrize("after_s", [0, 0.001, 0.003, 0.01, 0.02, 0.04])
async def test_a_stop_while_it_connects_leaves_nothing_running(amqp_url, after_s):
    before = asyncio.all_tasks()
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    connecting = asyncio.create_task(bus.connect(broker))
    await asyncio.sleep(after_s)

    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    await broker.stop()

    async with asyncio.timeout(5):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)


@pytest.fixture
def quick_patience(monkeypatch):
    monkeypatch.setattr(settlement, "IN_PLACE_DELAYS_S", (0.01, 0.01))
    monkeypatch.setattr(settlement, "REQUEUE_DELAY_S", 0.01)


async def send(channel, body, **properties):
    message = aio_pika.Message(body if isinstance(body, bytes) else json.dumps(body).encode(), **properties)
    await channel.default_exchange.publish(message, routing_key="features.live")


async def dead_letter(channel, timeout_s=10.0):
    queue = await channel.get_queue("flotilla.dead_letters")
    async with asyncio.timeout(timeout_s):
        while True:
            if letter := await queue.get(fail=False, no_ack=True):
                return letter
            await asyncio.sleep(0.02)


async def ready_messages(channel, name):
    return (await channel.declare_queue(name, passive=True)).declaration_result.message_count


async def test_a_vector_reaches_its_handler_with_its_trace_id(amqp_url, channel):
    received = asyncio.get_running_loop().create_future()

    async def handle(delivery):
        received.set_result((delivery, tracing.current()))

    async with consuming(amqp_url, handle):
        await send(channel, VECTOR, headers={"trace_id": "from-the-header"})
        delivery, trace_id = await asyncio.wait_for(received, 10)

    assert delivery.body.symbol == "BTCUSDT"
    assert not delivery.redelivered
    assert trace_id == "from-the-header"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "DecodeError"),
        (b"\xff\xfe not json", "DecodeError"),
        (b'{"timestamp": "2026', "DecodeError"),
        ({**VECTOR, "features": {"mid_price": "high"}}, "ValidationError: Expected `float`, got `str`"),
        ([VECTOR], "ValidationError"),
        (b"[" * 100_000, "RecursionError|DecodeError|ValidationError"),
    ],
)
async def test_a_body_that_cannot_be_read_is_stored_with_its_reason_and_blocks_nobody(
    amqp_url, channel, body, reason
):
    handled = asyncio.Event()

    async def handle(delivery):
        handled.set()

    async with consuming(amqp_url, handle):
        await send(channel, body, headers={"sent-by": "somebody"}, message_id="m-1")
        await send(channel, VECTOR)
        await asyncio.wait_for(handled.wait(), 10)
        letter = await dead_letter(channel)

    assert letter.body == (body if isinstance(body, bytes) else json.dumps(body).encode())
    assert any(part in letter.headers["reason"] for part in reason.split("|"))
    assert letter.headers["queue"] == "features.live"
    assert letter.headers["service"] == "test"
    assert letter.headers["original-sent-by"] == "somebody"
    assert letter.message_id == "m-1"
    assert await ready_messages(channel, "features.live") == 0


async def test_a_handler_that_finds_its_input_unusable_is_asked_once(amqp_url, channel):
    calls = []

    async def handle(delivery):
        calls.append(delivery)
        raise Unusable("this symbol is not ours")

    async with consuming(amqp_url, handle):
        await send(channel, VECTOR)
        letter = await dead_letter(channel)

    assert letter.headers["reason"] == "Unusable: this symbol is not ours"
    assert len(calls) == 1


async def test_a_handler_with_a_bug_is_retried_in_place_and_then_its_message_is_kept(
    amqp_url, channel, quick_patience
):
    calls = []

    async def handle(delivery):
        calls.append(delivery)
        raise ZeroDivisionError("a bug")

    async with consuming(amqp_url, handle):
        await send(channel, VECTOR)
        letter = await dead_letter(channel)

    assert letter.headers["reason"] == "ZeroDivisionError: a bug"
    assert len(calls) == 3


async def test_a_neighbour_that_does_not_answer_costs_no_message(amqp_url, channel, quick_patience):
    calls, done = [], asyncio.Event()

    async def handle(delivery):
        calls.append(delivery.redelivered)
        if len(calls) < 8:
            raise TryAgain("the neighbour sleeps")
        done.set()

    async with consuming(amqp_url, handle):
        await send(channel, VECTOR)
        await asyncio.wait_for(done.wait(), 10)

    assert calls == [False] * 3 + [True] * 5
    assert await ready_messages(channel, "features.live") == 0
    assert await ready_messages(channel, "flotilla.dead_letters") == 0


async def test_a_message_in_work_survives_its_worker(amqp_url, channel):
    begun = asyncio.Event()

    async def hang(delivery):
        begun.set()
        await asyncio.Event().wait()

    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    broker.subscriber(topology.FEATURES_LIVE, decoder=bus.decoding(FeatureVector))(hang)
    await bus.connect(broker, topology.FEATURES_LIVE)
    await send(channel, VECTOR)
    await asyncio.wait_for(begun.wait(), 10)
    await broker._connection.close()  # what a crash does to it

    received = asyncio.get_running_loop().create_future()

    async def handle(delivery):
        received.set_result(delivery)

    async with consuming(amqp_url, handle):
        delivery = await asyncio.wait_for(received, 10)

    assert delivery.redelivered


async def test_a_published_message_carries_what_the_platform_wants(amqp_url, channel):
    async with consuming(amqp_url, _ignore, topology.TRADING_SIGNALS) as broker:
        await bus.publish(
            broker,
            topology.TRADING_SIGNALS,
            b"{}",
            message_id=SIGNAL_ID,
            trace_id="trace-1",
            expires_in_s=5.0,
        )
        queue = await channel.get_queue("model-service.trading_signals")
        message = await queue.get(no_ack=True)

    assert message.body == b"{}"
    assert message.content_type == "application/json"
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.message_id == str(SIGNAL_ID)
    assert message.headers == {"trace_id": "trace-1"}
    assert 4.5 < message.expiration <= 5.0


async def test_a_message_whose_validity_ended_while_it_waited_is_not_sent(amqp_url, channel):
    async with consuming(amqp_url, _ignore, topology.TRADING_SIGNALS) as broker:
        with pytest.raises(TryAgain, match="validity ended"):
            await bus.publish(
                broker, topology.TRADING_SIGNALS, b"{}", message_id=SIGNAL_ID, trace_id="t", expires_in_s=0.0
            )
        queue = await channel.get_queue("model-service.trading_signals")

        assert await queue.get(fail=False) is None


async def test_a_publish_that_nobody_would_receive_raises_naming_the_queue(amqp_url, channel):
    async with consuming(amqp_url, _ignore) as broker:
        with pytest.raises(Unroutable, match=r"flotilla\.test\.nowhere"):
            await bus.publish(
                broker,
                RabbitQueue("flotilla.test.nowhere"),
                b"{}",
                message_id=SIGNAL_ID,
                trace_id="trace-1",
                expires_in_s=5.0,
            )


async def test_a_publish_without_a_connection_asks_to_try_again(amqp_url):
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    await bus.connect(broker)
    await broker._connection.close()  # what a crash does to it

    with pytest.raises(TryAgain):
        await bus.publish(
            broker, topology.TRADING_SIGNALS, b"{}", message_id=SIGNAL_ID, trace_id="t", expires_in_s=5.0
        )
    await broker.stop()


@pytest.mark.parametrize("queue", [topology.FEATURES_LIVE, topology.TRADING_SIGNALS])
async def test_platform_queues_are_declared_as_the_neighbours_declare_them(amqp_url, channel, queue):
    async with consuming(amqp_url, _ignore, queue):
        # Raises 406 where any argument differs.
        await channel.declare_queue(queue.name, durable=True)


async def test_a_platform_queue_that_exists_already_is_taken_as_it_is(amqp_url, channel):
    await channel.declare_queue("features.live", durable=True)
    await send(channel, VECTOR)
    received = asyncio.Event()

    async def handle(delivery):
        received.set()

    async with consuming(amqp_url, handle):
        await asyncio.wait_for(received.wait(), 10)


async def _ignore(delivery):
    return None


async def test_a_message_that_came_while_the_database_was_away_is_given_out_again(
    amqp_url, channel, quick_patience
):
    away = [ConnectionRefusedError(111, "Connect call failed"), PoolTimeout("QueuePool limit")] * 4
    done = asyncio.Event()

    async def handle(_):
        if away:
            raise away.pop()
        done.set()

    async with consuming(amqp_url, handle):
        await send(channel, VECTOR)
        await asyncio.wait_for(done.wait(), 20)

    assert await ready_messages(channel, topology.DEAD_LETTERS.name) == 0


async def test_a_call_that_nobody_waits_for_leaves_the_channel_to_the_signals(amqp_url):
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    await bus.connect(broker, topology.TRADING_SIGNALS)
    queue = await broker.declare_queue(topology.TRADING_SIGNALS)

    async def is_closed_by(call):
        channel = await queue.channel.get_underlay_channel()
        waiting = asyncio.create_task(call)
        for _ in range(5):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0.2)
        return channel.is_closed

    try:
        assert not await is_closed_by(bus.unbroken(queue.declare()))
        assert await is_closed_by(queue.declare()), "the trap is gone: unbroken is not needed any more"
    finally:
        await broker.stop()
