"""The wiretap hears what crosses the broker, through a restart of it, and knows when it was deaf."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import aio_pika
import pytest

from sandbox.outages import BROKER_IS_AWAY
from sandbox.wiretap import EVERYTHING_SENT, tapped

QUEUE = "model-service.trading_signals"
KEYS = (EVERYTHING_SENT, f"deliver.{QUEUE}")


@pytest.fixture
def place(servers):
    if servers.rabbitmq is None:
        pytest.fail("the wiretap needs a private broker: unset TEST_RABBITMQ_URL")
    name = f"tap_{uuid4().hex[:8]}"
    yield name, servers.rabbitmq.add_vhost(name)
    servers.rabbitmq.delete_vhost(name)


async def sent_and_consumed(amqp_url, body):
    """One message crosses the broker, however long that takes."""
    async with asyncio.timeout(60):
        while True:
            with suppress(*BROKER_IS_AWAY):
                async with await aio_pika.connect(amqp_url) as connection:
                    channel = await connection.channel()
                    queue = await channel.declare_queue(QUEUE, durable=True)
                    message = aio_pika.Message(body, headers={"trace_id": "t"})
                    await channel.default_exchange.publish(message, routing_key=QUEUE)
                    async with queue.iterator() as messages:
                        async for each in messages:
                            await each.ack()
                            if each.body == body:
                                return
            await asyncio.sleep(0.2)


async def heard_both(heard, body):
    async with asyncio.timeout(30):
        while len([each for each in heard if each.body == body]) < 2:
            await asyncio.sleep(0.05)
    return [each for each in heard if each.body == body]


async def test_what_is_sent_and_what_is_given_is_heard_before_and_after_a_restart(servers, place):
    vhost, amqp_url = place
    heard = []
    async with tapped(servers, vhost, amqp_url, heard.append, KEYS) as tap:
        await sent_and_consumed(amqp_url, b'"before"')
        before = await heard_both(heard, b'"before"')
        assert tap.gaps == []
        killed_at = datetime.now(UTC)
        await asyncio.to_thread(servers.rabbitmq.restart)
        await sent_and_consumed(amqp_url, b'"after"')
        after = await heard_both(heard, b'"after"')
        [gap] = tap.gaps

    for sent, given in (before, after):
        assert (sent.is_sent, sent.exchange, sent.queue) == (True, "", QUEUE)
        assert (given.is_sent, given.queue, given.is_redelivered) == (False, QUEUE, False)
        assert sent.headers["trace_id"] == given.headers["trace_id"] == "t"
    assert gap.began_at < gap.ended_at
    assert killed_at < gap.ended_at
