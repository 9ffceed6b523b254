"""The bus on one page: every queue that Flotilla reads or writes.

Platform queues live on the default exchange, durable and **without any argument**: a neighbour declares
the same name, and one differing argument closes the channel of whoever comes second (406). What we need
beyond that (expiry) is a property of each message, or lives on queues of our own.
"""

from faststream.rabbit import QueueType, RabbitQueue


def _platform_queue(name: str) -> RabbitQueue:
    queue = RabbitQueue(name, durable=True)
    queue.arguments = {}  # FastStream always adds x-queue-type
    return queue


FEATURES_LIVE = _platform_queue("features.live")
"""Feature Service -> inference: one vector of a symbol a message."""

TRADING_SIGNALS = _platform_queue("model-service.trading_signals")
"""Inference and exit strategy -> Order Manager."""

DEAD_LETTERS = RabbitQueue("flotilla.dead_letters", queue_type=QueueType.QUORUM, durable=True)
"""Ours: messages that could not be used, each with its reason, until an operator looks."""
