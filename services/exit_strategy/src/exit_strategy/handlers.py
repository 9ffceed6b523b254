"""What an exit worker hears: position updates from their queue, prices from our fan-out."""

from faststream.rabbit import RabbitBroker

from common import bus, topology, tracing
from common.bus import Delivery, decoding
from common.core.exits.position import Price
from common.messages import PositionChanged, PositionUpdated, PriceSeen
from exit_strategy.sweep import Sweep
from exit_strategy.worker import Worker


def subscribe(broker: RabbitBroker, worker: Worker, sweep: Sweep) -> None:
    """From the broker's start on, updates and prices go to `worker`, once `sweep` has reconciled.

    Updates are taken and re-announced also while exits are disabled: nobody else hears them.
    """

    @broker.subscriber(topology.POSITION_UPDATED, decoder=decoding(PositionUpdated))
    async def on_position_updated(delivery: Delivery[PositionUpdated]) -> None:
        update = delivery.body
        with tracing.bound(tracing.accepted(update.trace_id or tracing.current())):
            changed = PositionChanged(symbol=update.symbol, size=update.size, timestamp=update.timestamp)
            await bus.announce(broker, topology.POSITION_CHANGED, changed)
            await sweep.reconciled.wait()
            await worker.on_update(update)

    @broker.subscriber(
        topology.own_queue(topology.PRICE_SEEN), topology.PRICE_SEEN, decoder=decoding(PriceSeen)
    )
    async def on_price_seen(delivery: Delivery[PriceSeen]) -> None:
        seen = delivery.body
        await sweep.reconciled.wait()
        await worker.on_price(
            seen.symbol, Price(value=seen.price, seen_at=seen.timestamp, source="price_seen")
        )
