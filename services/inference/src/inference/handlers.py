"""What comes in beside the queue of vectors: those polled over REST, and hints."""

from collections.abc import Awaitable, Callable

import structlog
from faststream.rabbit import RabbitBroker

from common import topology
from common.bus import Delivery, decoding
from common.database import DATABASE_ERRORS
from common.errors import first_line
from common.messages import FeaturesHeard, FeatureVector, PositionChanged, VersionActivated
from common.position_manager import CachedPositions
from inference.events import Event
from inference.live_vectors import LiveVectors
from inference.models import ServedModels
from inference.worker import Worker

log = structlog.get_logger(__name__)


def subscribe_to_hints(
    broker: RabbitBroker, models: ServedModels, positions: CachedPositions, live: LiveVectors
) -> None:
    """From the broker's start on, what the fleet says to itself is heard; none of it is the truth."""
    subscribe_to_activations(broker, models)
    subscribe_to_position_changes(broker, positions)
    subscribe_to_peers(broker, live)


def subscribe_to_activations(broker: RabbitBroker, models: ServedModels) -> None:
    """From the broker's start on, an announced activation is looked up at once."""

    @broker.subscriber(
        topology.own_queue(topology.MODEL_ACTIVATED),
        topology.MODEL_ACTIVATED,
        decoder=decoding(VersionActivated),
    )
    async def on_activated(_: Delivery[VersionActivated]) -> None:
        try:
            await models.refresh()
        except DATABASE_ERRORS as error:
            # Only a hint: the poll will find what the registry says.
            log.warning(Event.REGISTRY_NOT_READ, reason=first_line(error))


def subscribe_to_position_changes(broker: RabbitBroker, positions: CachedPositions) -> None:
    """From the broker's start on, a position that changed is asked for anew."""

    @broker.subscriber(
        topology.own_queue(topology.POSITION_CHANGED),
        topology.POSITION_CHANGED,
        decoder=decoding(PositionChanged),
    )
    async def on_position_changed(delivery: Delivery[PositionChanged]) -> None:
        positions.invalidate(delivery.body.symbol)


def subscribe_to_peers(broker: RabbitBroker, live: LiveVectors) -> None:
    """From the broker's start on, a stream that any worker of the fleet hears counts as alive."""

    @broker.subscriber(
        topology.own_queue(topology.FEATURES_HEARD), topology.FEATURES_HEARD, decoder=decoding(FeaturesHeard)
    )
    async def on_features_heard(delivery: Delivery[FeaturesHeard]) -> None:
        live.note_heard(delivery.body.symbols)


def taking(worker: Worker, live: LiveVectors) -> Callable[[FeatureVector], Awaitable[None]]:
    """What becomes of a vector that was polled: the same as of one from the queue."""

    async def take(vector: FeatureVector) -> None:
        live.note(vector, polled=True)
        await worker.on_vector(vector, redelivered=False)

    return take
