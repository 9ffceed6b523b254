"""The wiretap: what really crossed the broker, read off its own trace, whatever the services say of it.

The trace goes on after a restart of the broker, and what it copies waits in a durable queue until this side
is connected again. What was copied and not yet read when a broker died is lost: that is a gap.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from sandbox.core.audit.record import Gap, Heard
from sandbox.outages import BROKER_IS_AWAY, RETRY_S, TIMEOUT_S
from sandbox.servers import Servers

EVERYTHING_SENT = "publish.#"
_EXCHANGE = "amq.rabbitmq.trace"
_QUEUE = "flotilla.wiretap"
_LONGEST_QUEUE = 200_000
"""Messages that wait for this side, at most."""
_UNREAD = timedelta(seconds=2)
"""Of what was copied before a connection was lost, so much may not have been read."""


class Wiretap:
    """One tap: `gaps` are the times in which it was deaf."""

    def __init__(self, amqp_url: str, on_heard: Callable[[Heard], None], keys: Sequence[str]) -> None:
        self.gaps: list[Gap] = []
        self.listening = asyncio.Event()
        self._amqp_url = amqp_url
        self._on_heard = on_heard
        self._keys = keys

    async def run(self) -> None:
        """Listens until cancelled, through any outage of the broker."""
        lost_at: datetime | None = None
        while True:
            with suppress(*BROKER_IS_AWAY):
                connection = await aio_pika.connect(self._amqp_url, timeout=TIMEOUT_S)
                async with connection, connection.channel() as channel:
                    await self._listen(channel)
                    if lost_at is not None:
                        self.gaps.append(Gap(began_at=lost_at - _UNREAD, ended_at=datetime.now(UTC)))
                    lost_at = None
                    self.listening.set()
                    await channel.closed()
            lost_at = lost_at or datetime.now(UTC)
            self.listening.clear()
            await asyncio.sleep(RETRY_S)

    async def _listen(self, channel: aio_pika.abc.AbstractChannel) -> None:
        limit: dict[str, aio_pika.abc.FieldValue] = {"x-max-length": _LONGEST_QUEUE}
        queue = await channel.declare_queue(_QUEUE, durable=True, arguments=limit, timeout=TIMEOUT_S)
        for key in self._keys:
            await queue.bind(_EXCHANGE, routing_key=key, timeout=TIMEOUT_S)
        await queue.consume(self._on_message, no_ack=True, timeout=TIMEOUT_S)

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        self._on_heard(_heard(message, datetime.now(UTC)))


@asynccontextmanager
async def tapped(
    servers: Servers, vhost: str, amqp_url: str, on_heard: Callable[[Heard], None], keys: Sequence[str]
) -> AsyncIterator[Wiretap]:
    """All that crosses the virtual host with one of the trace's `keys` is heard inside the block."""
    assert servers.rabbitmq is not None
    await asyncio.to_thread(servers.rabbitmq.trace, vhost)
    tap = Wiretap(amqp_url, on_heard, keys)
    listening = asyncio.create_task(tap.run())
    try:
        await asyncio.wait_for(tap.listening.wait(), timeout=TIMEOUT_S)
        yield tap
    finally:
        listening.cancel()
        await asyncio.wait([listening])


def _heard(message: AbstractIncomingMessage, at: datetime) -> Heard:
    kind, _, place = (message.routing_key or "").partition(".")
    headers: dict[str, Any] = dict(message.headers)
    keys = headers.get("routing_keys") or [""]
    properties = headers.get("properties") or {}
    is_sent = kind == "publish"
    return Heard(
        at=at,
        is_sent=is_sent,
        exchange=str(headers.get("exchange_name", "")),
        queue=str(keys[0]) if is_sent else place,
        is_redelivered=bool(headers.get("redelivered", 0)),
        headers=dict(properties.get("headers") or {}),
        body=message.body,
    )
