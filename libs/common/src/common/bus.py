"""The broker connection of a process: how messages are decoded, dead-lettered and published."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

import aio_pika
import aiormq
import msgspec
import stamina
import structlog
from aio_pika.abc import AbstractIncomingMessage, DeliveryMode
from faststream import AckPolicy, BaseMiddleware
from faststream.message import StreamMessage
from faststream.rabbit import Channel, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.security import BaseSecurity

from common import topology, tracing
from common.core import letters
from common.errors import OutcomeUnknown, TryAgain, Unroutable
from common.messages import Message
from common.settings import BusSettings
from common.settlement import BROKER_AWAY, DeadLetter, Settlement
from common.telemetry import Event

log = structlog.get_logger(__name__)

PREFETCH = 50
"""Messages in flight a process; more gains nothing and one at a time waits for a disk write each."""
ANNOUNCE_TIMEOUT_S = 1.0
"""Longest that a hint may hold up whoever gives it."""
PUBLISH_TIMEOUT_S = 5.0
"""Longest wait for a confirm; after it the outcome is unknown."""
CONNECT_GRACE_S = 5.0
"""Longest that a stop waits for a connection that is being made."""

_encoder = msgspec.json.Encoder()

T = TypeVar("T")
Call = Callable[[Any], Awaitable[Any]]


class Delivery(msgspec.Struct, Generic[T], frozen=True):
    """A decoded message, and whether somebody may have begun with it before."""

    body: T
    redelivered: bool


def create_broker(settings: BusSettings, *, service: str) -> RabbitBroker:
    """A broker that is not connected yet; `service` names the process in dead letters and connections.

    Subscribers get their message decoded by `decoding(...)` and settle nothing themselves.
    """

    def settling(message: Any, /, *, context: Any) -> BaseMiddleware[Any, Any]:
        return _Settling(message, context=context, settlement=settlement)

    tls = settings.broker_tls()
    broker = RabbitBroker(
        settings.amqp_url(),
        security=None if tls is None else BaseSecurity(ssl_context=tls, use_ssl=True),
        app_id=service,
        default_channel=Channel(prefetch_count=PREFETCH, on_return_raises=True),
        ack_policy=AckPolicy.MANUAL,
        middlewares=[settling],
        apply_types=False,
        logger=None,
        reconnect_interval=1.0,
        timeout=5.0,
    )
    settlement = Settlement(dead_letters(broker, service=service))
    return broker


def dead_letters(broker: RabbitBroker, *, service: str) -> DeadLetter:
    """Keeps messages that came by `broker` and cannot be used; `service` names the process in them."""
    return _DeadLetters(broker, service).store


def decoding(message_type: type[T]) -> Callable[[StreamMessage[Any]], Awaitable[Delivery[T]]]:
    """The decoder of a subscriber: the body as `message_type`, else the message is dead-lettered."""
    decoder = msgspec.json.Decoder(message_type)

    async def decode(message: StreamMessage[Any]) -> Delivery[T]:
        return Delivery(decoder.decode(message.body), bool(message.raw_message.redelivered))

    return decode


async def connect(
    broker: RabbitBroker, *queues: RabbitQueue, then: Callable[[], Awaitable[None]] | None = None
) -> None:
    """The broker is connected, `queues` exist, subscribers consume, and `then` was done.

    Waits and tries all of it again for ever.
    """
    async for attempt in stamina.retry_context(on=BROKER_AWAY, attempts=None, timeout=None, wait_max=10):
        with attempt:
            try:
                await _connect(broker)
                for queue in (topology.DEAD_LETTERS, *queues):
                    await broker.declare_queue(queue)
                await broker.start()
                if then is not None:
                    await then()
            except BROKER_AWAY as error:
                log.warning(
                    Event.DEPENDENCY_UNAVAILABLE, dependency="broker", reason=str(error), attempt=attempt.num
                )
                # What is half made may fail to close; that must not end the attempts.
                with suppress(Exception):
                    await broker.stop()
                raise


async def publish(
    broker: RabbitBroker,
    queue: RabbitQueue,
    body: bytes,
    *,
    message_id: UUID,
    trace_id: str,
    expires_in_s: float,
) -> None:
    """The broker confirmed that `queue` holds the persistent JSON message, for `expires_in_s` at most.

    Raises Unroutable where no such queue exists, OutcomeUnknown without a confirm in PUBLISH_TIMEOUT_S, and
    TryAgain where there is no connection, or it came back too late.
    """
    message = _Perishable(
        body,
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=str(message_id),
        headers={tracing.HEADER: trace_id},
        expiration=expires_in_s,
        timestamp=datetime.now(UTC),
    )
    await _publish(broker, queue.name, message)


async def put_back(
    broker: RabbitBroker,
    queue: RabbitQueue,
    body: bytes,
    headers: Mapping[str, Any],
    *,
    content_type: str | None,
    message_id: str | None,
    expires_in_s: float | None,
) -> None:
    """The broker confirmed that `queue` holds a message once more, as it was; raises as `publish` does."""
    message = aio_pika.Message(
        body,
        headers=dict(headers),
        content_type=content_type,
        message_id=message_id,
        delivery_mode=DeliveryMode.PERSISTENT,
        expiration=expires_in_s,
    )
    await _publish(broker, queue.name, message)


async def announce(broker: RabbitBroker, exchange: RabbitExchange, message: Message) -> None:
    """Whoever listens to our fan-out hears `message`; nobody listening, or no broker, is normal."""
    announcement = aio_pika.Message(
        _encoder.encode(message),
        content_type="application/json",
        delivery_mode=DeliveryMode.NOT_PERSISTENT,
        headers={tracing.HEADER: tracing.current()},
    )
    try:
        async with asyncio.timeout(ANNOUNCE_TIMEOUT_S):
            # Kept by FastStream; publishing to an exchange that is not there would close the channel.
            await unbroken(broker.declare_exchange(exchange))
            await broker.publish(announcement, exchange=exchange, mandatory=False)
    except BROKER_AWAY as error:
        log.debug(Event.ANNOUNCEMENT_LOST, exchange=exchange.name, reason=repr(error))


async def unbroken(call: Coroutine[object, object, T]) -> T:
    """What `call` gives; it goes on where nobody waits for it any more.

    TRAP: aiormq closes the channel of a call that is cancelled before its answer came, and with it whatever
    is published there meanwhile.
    """
    task = asyncio.create_task(call)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to ask
    return await asyncio.shield(task)


class _Perishable(aio_pika.Message):
    """A message whose validity goes on while it waits for a connection, or its process stands still.

    The clock is read when the frames are made, which then go to the socket. What is left: a process that is
    stopped between the two sends late, unless the broker closed its silent connection meanwhile.
    """

    def __init__(self, body: bytes, *, expiration: float, **properties: Any) -> None:
        super().__init__(body, expiration=expiration, **properties)
        self._ends_at = time.monotonic() + expiration

    @property
    def properties(self) -> aiormq.spec.Basic.Properties:
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise TryAgain("its validity ended before it could be sent")
        self.expiration = left_s
        return super().properties


class _DeadLetters:
    """Where a message ends that could not be used: the original bytes and why."""

    def __init__(self, broker: RabbitBroker, service: str) -> None:
        self._broker = broker
        self._service = service

    async def store(self, message: AbstractIncomingMessage, reason: str) -> None:
        headers = {
            letters.LETTER_ID: str(uuid4()),
            letters.REASON: reason[:1000],
            letters.QUEUE: message.routing_key or "",
            letters.SERVICE: self._service,
            letters.FAILED_AT: datetime.now(UTC).isoformat(),
            tracing.HEADER: tracing.current(),
        }
        letter = aio_pika.Message(
            message.body,
            headers={**{f"{letters.ORIGINAL}{k}": v for k, v in (message.headers or {}).items()}, **headers},
            content_type=message.content_type,
            message_id=message.message_id,
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        await _publish(self._broker, topology.DEAD_LETTERS.name, letter)
        log.warning(Event.MESSAGE_DEAD_LETTERED, reason=reason, queue=message.routing_key)


class _Settling(BaseMiddleware[Any, AbstractIncomingMessage]):
    """What becomes of one message that FastStream hands to a subscriber."""

    def __init__(self, message: AbstractIncomingMessage, *, context: Any, settlement: Settlement) -> None:
        super().__init__(message, context=context)
        self._settlement = settlement

    async def consume_scope(self, call_next: Call, msg: StreamMessage[Any]) -> None:
        with tracing.bound(tracing.accepted(msg.headers.get(tracing.HEADER))):
            await self._settlement.settle(self.msg, lambda: call_next(msg))

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: Any = None,
    ) -> bool:
        # Only what never reached the handler arrives here unsettled: a body that cannot be decoded.
        if isinstance(exc_val, Exception) and not self.msg.processed:
            await self._settlement.bury(self.msg, exc_val)
            return True
        return False


# Cancelled while it connects, aio_pika begins anew, for ever, and nobody holds what could be closed: so the
# attempt comes to its end first.
async def _connect(broker: RabbitBroker) -> None:
    connecting = asyncio.create_task(broker.connect())
    try:
        await asyncio.shield(connecting)
    except asyncio.CancelledError:
        with suppress(*BROKER_AWAY):
            async with asyncio.timeout(CONNECT_GRACE_S):
                await connecting
        raise


async def _publish(broker: RabbitBroker, queue: str, message: aio_pika.Message) -> None:
    try:
        # Around the whole call: waiting for a connection that is being restored counts, too.
        async with asyncio.timeout(PUBLISH_TIMEOUT_S):
            await broker.publish(message, routing_key=queue, mandatory=True)
    except (aio_pika.exceptions.DeliveryError, aio_pika.exceptions.PublishError) as error:
        raise Unroutable(
            f"no queue {queue} on the broker: declare it, or start the service that consumes it"
        ) from error
    except TimeoutError as error:
        raise OutcomeUnknown(f"no confirm for {message.message_id} within {PUBLISH_TIMEOUT_S} s") from error
    except BROKER_AWAY as error:
        raise TryAgain(f"broker not reachable: {error!r}") from error
