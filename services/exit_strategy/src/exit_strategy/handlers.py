"""What an exit worker hears: position updates from their queue, prices from our fan-out."""

from faststream.rabbit import RabbitBroker

from common import bus, topology, tracing
from common.bus import Delivery, decoding
from common.core.exits.position import Price
from common.errors import TryAgain
from common.messages import PositionChanged, PriceSeen
from exit_strategy import failed_updates
from exit_strategy.core.price_choice import PRICE_SEEN
from exit_strategy.failed_updates import Heard
from exit_strategy.sweep import Sweep
from exit_strategy.worker import Worker


def subscribe(broker: RabbitBroker, worker: Worker, sweep: Sweep) -> None:
    """From the broker's start on, updates and prices go to `worker`, once `sweep` knows what is open.

    Updates are taken and re-announced also while exits are disabled: nobody else hears them.
    """

    @broker.subscriber(topology.POSITION_UPDATED, decoder=failed_updates.hear)
    async def on_position_updated(heard: Heard) -> None:
        update = heard.update
        if update is None:
            await sweep.make_up_for(heard, heard.fault or "")
            return
        with tracing.bound(tracing.accepted(update.trace_id or tracing.current())):
            changed = PositionChanged(symbol=update.symbol, size=update.size, timestamp=update.timestamp)
            await bus.announce(broker, topology.POSITION_CHANGED, changed)
            await sweep.reconciled.wait()
            try:
                await worker.on_update(update)
            except TryAgain:
                raise
            except Exception as error:  # noqa: BLE001 - whatever an update raises, its position is looked at
                await sweep.make_up_for(heard, f"{type(error).__name__}: {error}")

    @broker.subscriber(
        topology.own_queue(topology.PRICE_SEEN), topology.PRICE_SEEN, decoder=decoding(PriceSeen)
    )
    async def on_price_seen(delivery: Delivery[PriceSeen]) -> None:
        seen = delivery.body
        await sweep.watching.wait()
        await worker.on_price(seen.symbol, Price(value=seen.price, seen_at=seen.timestamp, source=PRICE_SEEN))
