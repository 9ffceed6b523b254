"""What comes in: vectors from the queue features.live or polled over REST, and hints."""

import asyncio
from collections.abc import Sequence

import structlog
from faststream.rabbit import RabbitBroker
from sqlalchemy.exc import SQLAlchemyError

from common import topology, tracing
from common.bus import Delivery, decoding
from common.errors import FleetError
from common.feature_service import FeatureService
from common.messages import FeatureVector, PositionChanged, VersionActivated
from common.position_manager import CachedPositions
from inference.events import Event
from inference.models import ServedModels
from inference.worker import Worker

log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 1.0
"""The platform's fastest rhythm."""


def subscribe(broker: RabbitBroker, worker: Worker) -> None:
    """From the broker's start on, every live vector goes to `worker`."""

    @broker.subscriber(topology.FEATURES_LIVE, decoder=decoding(FeatureVector))
    async def on_features(delivery: Delivery[FeatureVector]) -> None:
        vector = delivery.body
        with tracing.bound(tracing.accepted(vector.trace_id or tracing.current())):
            await worker.on_vector(vector, redelivered=delivery.redelivered)


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
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            # Only a hint: the poll will find what the registry says.
            log.warning(Event.REGISTRY_NOT_READ, reason=str(error).splitlines()[0])


def subscribe_to_position_changes(broker: RabbitBroker, positions: CachedPositions) -> None:
    """From the broker's start on, a position that changed is asked for anew."""

    @broker.subscriber(
        topology.own_queue(topology.POSITION_CHANGED),
        topology.POSITION_CHANGED,
        decoder=decoding(PositionChanged),
    )
    async def on_position_changed(delivery: Delivery[PositionChanged]) -> None:
        positions.invalidate(delivery.body.symbol)


async def poll(features: FeatureService, worker: Worker, symbols: Sequence[str]) -> None:
    """For ever: each symbol's vector of this moment goes to `worker`, once a POLL_INTERVAL_S."""
    while True:
        for symbol in symbols:
            with tracing.bound(tracing.new()):
                try:
                    await worker.on_vector(await features.latest(symbol), redelivered=False)
                except FleetError as error:
                    log.warning(Event.FEATURE_POLL_FAILED, symbol=symbol, reason=str(error))
        await asyncio.sleep(POLL_INTERVAL_S)
