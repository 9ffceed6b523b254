"""A queue consumed through aio-pika itself: for the one that FastStream would make too slow.

Its layers take a fifth of what an inference worker does with a vector, and they settle a message when its
handler returns. Here whoever receives a message settles it, when it likes, by the rules of common.settlement;
the broker is told of all that was settled in one turn of the event loop together.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec
import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aiormq.abc import AbstractChannel as UnderlayChannel
from faststream.rabbit import RabbitBroker, RabbitQueue

from common.settlement import BROKER_AWAY, DeadLetter, Settlement
from common.telemetry import Event

log = structlog.get_logger(__name__)

FRAMES_READ_AHEAD = 3_000
"""Of a channel, three a message."""
MOST_HELD = 200
"""Messages that were settled out of turn, before the broker is told of each by itself."""

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

    Every message goes to `receive`, which ends it by `settlement` sooner or later: at most `prefetch` have
    not. A body that is no `message_type` is a dead letter. A lost connection is restored, and consuming.
    """

    def __init__(
        self,
        broker: RabbitBroker,
        queue: RabbitQueue,
        message_type: type[T],
        receive: Callable[[Arrival[T]], Awaitable[None]],
        *,
        dead_letter: DeadLetter,
        prefetch: int,
    ) -> None:
        self.queue = queue
        self._answers = _Together(queue.name)
        self.settlement = Settlement(dead_letter, self._answers)
        self._broker = broker
        self._decoder = msgspec.json.Decoder(message_type)
        self._receive = receive
        self._prefetch = prefetch
        self._channel: AbstractChannel | None = None
        self._consumed: AbstractQueue | None = None
        self._tag = ""

    async def start(self) -> None:
        """Messages come; the broker is connected and has the queue. Raises what the drivers raise."""
        connection = await self._broker.connect()
        channel = await connection.channel(publisher_confirms=False)
        channel.reopen_callbacks.add(_read_ahead)
        await _read_ahead(channel)
        await channel.set_qos(prefetch_count=self._prefetch)
        # Declared, not only named: only what aio-pika declared is restored when a connection was lost.
        self._consumed = await channel.declare_queue(
            self.queue.name, durable=self.queue.durable, arguments=self.queue.arguments
        )
        self._channel = channel
        self._tag = await self._consumed.consume(self._take)

    async def stop(self) -> None:
        """No further message comes; those that came may still be settled."""
        if self._consumed is not None and not self._consumed.channel.is_closed:
            await self._consumed.cancel(self._tag)

    async def answered(self) -> None:
        """The broker was told of all that is settled."""
        await self._answers.tell()

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
            await self.settlement.bury(message, error)
        else:
            await self._receive(Arrival(body, message))


class _Together:
    """Acknowledges what was settled in one turn of the event loop by as few frames as that takes.

    One frame acknowledges every message up to a tag: those up to the first that is not settled. Where that
    one takes long, what was settled after it is held, and told of one by one beyond MOST_HELD.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._channel: UnderlayChannel | None = None
        self._up_to = 0
        self._settled: set[int] = set()
        self._told: set[int] = set()
        """Beyond `_up_to`, and answered already."""
        self._has_news = False
        self._telling: asyncio.Task[None] | None = None
        self._one_teller = asyncio.Lock()

    async def acknowledge(self, message: AbstractIncomingMessage) -> None:
        if self._is_of_this_channel(message):
            self._settled.add(_tag_of(message))
            self._tell_soon()

    async def hand_back(self, message: AbstractIncomingMessage) -> None:
        if self._is_of_this_channel(message):
            await message.nack(requeue=True)
            if self._is_of_this_channel(message):  # meanwhile another may have taken its place
                self._told.add(_tag_of(message))
                self._tell_soon()

    async def tell(self) -> None:
        """The broker knows of all that is settled, but for what is held."""
        async with self._one_teller:  # a frame up to a tag must not overtake that of one below it
            await self._tell()

    async def _tell(self) -> None:
        channel, last = self._channel, 0
        if channel is None:
            return
        while (tag := self._up_to + 1) in self._settled or tag in self._told:
            self._up_to = tag
            if tag in self._settled:
                self._settled.remove(tag)
                last = tag
            else:
                self._told.remove(tag)
        held = sorted(self._settled) if len(self._settled) > MOST_HELD else []
        self._settled.difference_update(held)
        self._told.update(held)
        try:
            if last:
                await channel.basic_ack(last, multiple=True, wait=False)
            for tag in held:
                await channel.basic_ack(tag, wait=False)
        except BROKER_AWAY as error:
            # The connection went first: all of it is given out again, and its ids stop a second effect.
            log.warning(Event.MESSAGE_REQUEUED, reason=repr(error), queue=self._queue)

    def _tell_soon(self) -> None:
        self._has_news = True
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_while_there_is_news())

    async def _tell_while_there_is_news(self) -> None:
        while self._has_news:
            self._has_news = False
            await self.tell()

    # Tags begin anew with every channel. What came by one that is gone cannot be answered.
    def _is_of_this_channel(self, message: AbstractIncomingMessage) -> bool:
        if message.channel is not self._channel:
            if message.channel.is_closed:
                return False
            self._channel, self._up_to = message.channel, 0
            self._settled, self._told = set(), set()
        return True


def _tag_of(message: AbstractIncomingMessage) -> int:
    assert message.delivery_tag is not None, "it was delivered"
    return message.delivery_tag


# TRAP: aiormq reads ten frames of a channel ahead, so that a turn of the event loop brings three messages. A
# receiver that begins three decisions a turn would never see that a newer message is there.
async def _read_ahead(channel: AbstractChannel | None) -> None:
    assert channel is not None
    underlay: Any = await channel.get_underlay_channel()
    underlay.frames._maxsize = FRAMES_READ_AHEAD  # no parameter reaches it
