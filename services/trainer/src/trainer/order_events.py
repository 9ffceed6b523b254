"""The queue of order events as a source of executions, and whether it is ours alone.

A queue gives each message to one consumer. Where the Position Manager reads it as well, each of us loses the
other's fills: that is watched for as long as we read.
"""

from typing import Any

import structlog
from faststream.rabbit import RabbitBroker, RabbitQueue
from sqlalchemy.ext.asyncio import AsyncEngine

from common import topology
from common.alerts import raise_alert, resolve_alert
from common.bus import Delivery, decoding
from common.messages import OrderEvent
from trainer.events import Event
from trainer.executions import Executions

log = structlog.get_logger(__name__)

WATCH_INTERVAL_S = 10.0
"""How often the queue's consumers are counted."""
KIND = "order_events_shared"
"""Of the alert."""


def subscribe(broker: RabbitBroker, executions: Executions) -> None:
    """From the broker's start on, every order event is booked, kept as invalid, or nobody's business here."""

    # Before the events: what counts as ours must never be fewer than what reads them.
    @broker.subscriber(topology.ORDER_EVENT_READERS)
    async def on_nothing(_: Any) -> None:
        return None

    @broker.subscriber(topology.ORDER_EVENTS, decoder=decoding(OrderEvent))
    async def on_order_event(delivery: Delivery[OrderEvent]) -> None:
        await executions.on_event(delivery.body)


class OrderEventsWatch:
    """Looks for consumers of the order events that are no trainers of this fleet.

    Without `reads` nobody is in the way: the alert of a trainer that did read is over.
    """

    def __init__(self, broker: RabbitBroker, engine: AsyncEngine, *, reads: bool) -> None:
        self._broker = broker
        self._engine = engine
        self._reads = reads
        self._strangers = 0

    async def look(self) -> None:
        """An alert is open exactly while we and somebody else consume the order events."""
        if self._reads and not await self._broker.ping(timeout=1.0):
            return
        strangers = await self._count_strangers() if self._reads else 0
        async with self._engine.begin() as connection:
            if strangers:
                sentence = (
                    f"{strangers} consumers of {topology.ORDER_EVENTS.name} are not ours: each fill reaches "
                    "only one of all; set EXECUTION_SOURCE=orders"
                )
                await raise_alert(
                    connection, KIND, "fleet", sentence, severity="critical", figures={"strangers": strangers}
                )
            else:
                await resolve_alert(connection, KIND, "fleet")
        if strangers and strangers != self._strangers:
            log.error(Event.ORDER_EVENTS_SHARED, queue=topology.ORDER_EVENTS.name, strangers=strangers)
        self._strangers = strangers

    async def _count_strangers(self) -> int:
        readers = await self._consumers(topology.ORDER_EVENTS)
        return max(readers - await self._consumers(topology.ORDER_EVENT_READERS), 0)

    async def _consumers(self, queue: RabbitQueue) -> int:
        # Declared as it is everywhere, so that only the count comes back.
        declared = await (await self._broker.declare_queue(queue)).declare()
        return declared.consumer_count or 0
