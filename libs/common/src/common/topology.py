"""The bus on one page: every queue that Flotilla reads or writes.

Platform queues live on the default exchange, durable and **without any argument**: a neighbour declares
the same name, and one differing argument closes the channel of whoever comes second (406). What we need
beyond that (expiry) is a property of each message, or lives on queues of our own.
"""

from uuid import uuid4

from faststream.rabbit import ExchangeType, QueueType, RabbitExchange, RabbitQueue


def _platform_queue(name: str) -> RabbitQueue:
    queue = RabbitQueue(name, durable=True)
    queue.arguments = {}  # FastStream always adds x-queue-type
    return queue


FEATURES_LIVE = _platform_queue("features.live")
"""Feature Service -> inference: one vector of a symbol a message."""

TRADING_SIGNALS = _platform_queue("model-service.trading_signals")
"""Inference and exit strategy -> Order Manager."""

DATASET_READY = _platform_queue("features.dataset.ready")
"""Feature Service -> trainer. The Feature Service publishes without declaring: only we do."""

POSITION_UPDATED = _platform_queue("position-manager.position_updated")
"""Position Manager -> exit strategy, and nobody else: a queue has one kind of consumer."""

ORDER_EVENTS = _platform_queue("order-manager.order_events")
"""Order Manager -> Position Manager; -> trainer only where EXECUTION_SOURCE=queue."""

ORDER_EVENT_READERS = RabbitQueue("flotilla.order_event_readers", durable=True, auto_delete=True)
"""Ours, always empty: each trainer that reads ORDER_EVENTS consumes here as well, to be counted."""

DEAD_LETTERS = RabbitQueue("flotilla.dead_letters", queue_type=QueueType.QUORUM, durable=True)
"""Ours: messages that could not be used, each with its reason, until an operator looks."""


def _fan_out(name: str) -> RabbitExchange:
    return RabbitExchange(name, type=ExchangeType.FANOUT, durable=True)


MODEL_ACTIVATED = _fan_out("flotilla.model_activated")
"""Ours, trainer and API -> every inference replica: VersionActivated."""

PRICE_SEEN = _fan_out("flotilla.price_seen")
"""Ours, inference -> every exit worker: PriceSeen."""

FEATURES_HEARD = _fan_out("flotilla.features_heard")
"""Ours, inference -> every inference replica: FeaturesHeard."""

POSITION_CHANGED = _fan_out("flotilla.position_changed")
"""Ours, exit strategy -> every inference replica: PositionChanged."""


def own_queue(exchange: RabbitExchange) -> RabbitQueue:
    """A queue of this process alone, gone with it: every process hears what `exchange` fans out."""
    queue = RabbitQueue(f"{exchange.name}.{uuid4().hex}", exclusive=True, auto_delete=True)
    queue.arguments = {}
    return queue
