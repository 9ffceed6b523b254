"""The simulated Order Manager: consumes trading signals, trades them on paper, tells what became of them.

It waits for broker and database at start and rides through their restarts: a message stays unacknowledged
until its order is settled, events are sent when the broker is back. A malformed message vanishes with a log
line, and no signal is ever too old.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable

import aio_pika
import asyncpg
import structlog
from aio_pika.abc import AbstractIncomingMessage

from sandbox.broker_line import BrokerLine, acknowledge
from sandbox.core.order_rules import Malformed, Signal, validate
from sandbox.core.orders import Event
from sandbox.order_desk import Market, OrderDesk, OrderManagerSettings
from sandbox.outages import DATABASE_IS_AWAY, TIMEOUT_S, until_database_answers

SIGNALS_QUEUE = "model-service.trading_signals"
EVENTS_QUEUE = "order-manager.order_events"

log = structlog.get_logger(__name__)


class OrderManager:
    """One running Order Manager: `await run()` until cancelled; `ready` is set while it consumes."""

    def __init__(
        self,
        *,
        database_url: str,
        amqp_url: str,
        market: Market,
        settings: OrderManagerSettings | None = None,
    ) -> None:
        self._line = BrokerLine(amqp_url, consumes=SIGNALS_QUEUE, declares=[EVENTS_QUEUE])
        self.ready = self._line.connected
        self._database_url = database_url
        self._market = market
        self._settings = settings or OrderManagerSettings()
        self._desk: OrderDesk | None = None
        self._in_hand: set[uuid.UUID] = set()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    async def run(self) -> None:
        """Consumes, trades and announces until cancelled; never returns by itself."""
        async with (
            asyncpg.create_pool(
                self._database_url, min_size=0, max_size=4, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S
            ) as pool,
            asyncio.TaskGroup() as tasks,
        ):
            desk = OrderDesk(pool, self._market, self._settings, self._events.put_nowait)
            await until_database_answers(desk.open)
            self._desk = desk

            async def on_delivery(message: AbstractIncomingMessage) -> None:
                tasks.create_task(self._on_message(desk, message))

            tasks.create_task(self._line.run(on_delivery))
            tasks.create_task(self._publish_for_ever())
            tasks.create_task(_every(self._settings.poll_interval_s, desk.look_at_market))
            tasks.create_task(_every(self._settings.heartbeat_interval_s, desk.heartbeat))

    async def write_balances(self) -> bool:
        """A fresh balance row is written; False while the books cannot be."""
        if self._desk is None:
            return False
        try:
            await self._desk.heartbeat()
        except DATABASE_IS_AWAY as error:
            log.warning("balances not written", error=repr(error))
            return False
        return True

    async def _on_message(self, desk: OrderDesk, message: AbstractIncomingMessage) -> None:
        signal = validate(_decoded(message.body))
        if isinstance(signal, Malformed):
            log.warning("malformed signal dropped", reason=signal.reason)
        elif signal.signal_id in self._in_hand:
            log.info("duplicate signal ignored", signal_id=str(signal.signal_id))
        else:
            self._in_hand.add(signal.signal_id)
            try:
                await self._execute(desk, signal, message.headers.get("trace_id"))
            finally:
                self._in_hand.discard(signal.signal_id)
        await acknowledge(message)

    async def _execute(self, desk: OrderDesk, signal: Signal, trace_id: object) -> None:
        try:
            await until_database_answers(lambda: desk.execute(signal, trace_id))
        except asyncpg.PostgresError:
            log.exception("signal lost: its order can not be stored", signal_id=str(signal.signal_id))

    async def _publish_for_ever(self) -> None:
        while True:
            event = await self._events.get()
            await self._publish(event)

    async def _publish(self, event: Event) -> None:
        message = aio_pika.Message(
            json.dumps(event).encode(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT,
            headers={"trace_id": event["trace_id"]},
        )
        await self._line.publish(message, EVENTS_QUEUE)


async def _every(interval_s: float, action: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        await until_database_answers(action)


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
