"""A neighbour's line to the broker: consumes one queue and publishes to another, through any outage.

Nothing is lost by this side: what cannot be published waits, what was not acknowledged comes again.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from sandbox.outages import BROKER_IS_AWAY, RETRY_S, TIMEOUT_S

PREFETCH = 10

log = structlog.get_logger(__name__)


class BrokerLine:
    """One connection, made anew whenever it is lost; `connected` is set while it consumes."""

    def __init__(self, amqp_url: str, *, consumes: str, declares: Sequence[str] = ()) -> None:
        self.connected = asyncio.Event()
        self._amqp_url = amqp_url
        self._consumes = consumes
        self._declares = declares
        self._channel: AbstractChannel | None = None

    async def run(self, on_message: Callable[[AbstractIncomingMessage], Coroutine[Any, Any, None]]) -> None:
        """Hands over every message until cancelled; `on_message` sees to its acknowledgement."""
        while True:
            try:
                connection = await aio_pika.connect(self._amqp_url, timeout=TIMEOUT_S)
                async with connection, connection.channel() as channel:
                    await channel.set_qos(prefetch_count=PREFETCH)
                    queue = await channel.declare_queue(self._consumes, durable=True)
                    for name in self._declares:
                        await channel.declare_queue(name, durable=True)
                    await queue.consume(on_message)
                    self._channel = channel
                    self.connected.set()
                    await channel.closed()  # the connection's own closed() never ends when the server went
            except BROKER_IS_AWAY as error:
                log.warning("broker is away", error=repr(error))
            finally:
                self.connected.clear()
                self._channel = None
            await asyncio.sleep(RETRY_S)

    async def publish(self, message: aio_pika.Message, queue: str, *, declare: bool = False) -> None:
        """The message is with the broker afterwards, however long that takes."""
        while True:
            try:
                if self._channel is not None:
                    if declare:
                        await self._channel.declare_queue(queue, durable=True, timeout=TIMEOUT_S)
                    exchange = self._channel.default_exchange
                    await exchange.publish(message, routing_key=queue, timeout=TIMEOUT_S)
                    return
            except BROKER_IS_AWAY as error:
                log.warning("message not sent yet", queue=queue, error=repr(error))
            await asyncio.sleep(RETRY_S)


async def acknowledge(message: AbstractIncomingMessage) -> None:
    """The message is done with; if the broker went meanwhile, it will come again."""
    try:
        await message.ack()
    except BROKER_IS_AWAY:
        log.info("broker lost before acknowledgement; the message will come again")
