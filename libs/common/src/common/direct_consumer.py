"""A queue consumed through aio-pika itself: for the one that FastStream would make too slow.

Its layers take a fifth of what an inference worker does with a vector, and they settle a message when its
handler returns. Here whoever receives a message settles it, when it likes, by the rules of common.settlement.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from faststream.rabbit import RabbitBroker, RabbitQueue

from common.settlement import Settlement

T = TypeVar("T")


class Arrival(msgspec.Struct, Generic[T], frozen=True):
    """A message that came and is not settled yet."""

    body: T
    message: AbstractIncomingMessage

    @property
    def redelivered(self) -> bool:
        """Whether somebody may have begun with it before."""
        return bool(self.message.redelivered)

    @property
    def is_lost(self) -> bool:
        """Whether its channel is gone: the broker gives it out again, and nobody can settle this one."""
        return self.message.channel.is_closed


class DirectConsumer(Generic[T]):
    """Consumes `queue` over a channel of its own on the broker's connection, from `start` to `stop`.

    Every message goes to `receive`, which settles it sooner or later: at most `prefetch` are unsettled.
    A body that is no `message_type` is dead-lettered. A lost connection is restored, and consuming with it.
    """

    def __init__(
        self,
        broker: RabbitBroker,
        queue: RabbitQueue,
        message_type: type[T],
        receive: Callable[[Arrival[T]], Awaitable[None]],
        *,
        settlement: Settlement,
        prefetch: int,
    ) -> None:
        self.queue = queue
        self._broker = broker
        self._decoder = msgspec.json.Decoder(message_type)
        self._receive = receive
        self._settlement = settlement
        self._prefetch = prefetch
        self._channel: AbstractChannel | None = None
        self._consumed: AbstractQueue | None = None
        self._tag = ""

    async def start(self) -> None:
        """Messages come; the broker is connected and has the queue. Raises what the drivers raise."""
        connection = await self._broker.connect()
        self._channel = await connection.channel(publisher_confirms=False)
        await self._channel.set_qos(prefetch_count=self._prefetch)
        # Declared, not only named: only what aio-pika declared is restored when a connection was lost.
        self._consumed = await self._channel.declare_queue(
            self.queue.name, durable=self.queue.durable, arguments=self.queue.arguments
        )
        self._tag = await self._consumed.consume(self._take)

    async def stop(self) -> None:
        """No further message comes; those that came may still be settled."""
        if self._consumed is not None and not self._consumed.channel.is_closed:
            await self._consumed.cancel(self._tag)

    async def is_consuming(self) -> bool:
        """Whether this process consumes: the channel forgets a consumer that the broker cancelled."""
        if self._channel is None:
            return False
        channel: Any = await self._channel.get_underlay_channel()
        return self._tag in channel.consumers

    async def _take(self, message: AbstractIncomingMessage) -> None:
        try:
            body = self._decoder.decode(message.body)
        except Exception as error:  # noqa: BLE001 - whatever a body does to the decoder, it is not usable
            await self._settlement.bury(message, error)
        else:
            await self._receive(Arrival(body, message))
