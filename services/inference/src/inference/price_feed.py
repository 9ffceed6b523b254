"""The prices that exits live on: the platform sends no position event when a price moves, so inference does.

A price that moved is announced at most five times a second and symbol, an unmoved one once every two seconds
so that listeners know that the market is watched. Only vectors that passed the gates are announced: a frozen
feed must look silent.
"""

import time
from decimal import Decimal

from faststream.rabbit import RabbitBroker

from common import bus, topology
from common.messages import FeatureVector, MarketSnapshot, PriceSeen

LEAST_INTERVAL_S = 0.2
LONGEST_SILENCE_S = 2.0


class PriceFeed:
    """What this worker has announced of each symbol."""

    def __init__(self, broker: RabbitBroker) -> None:
        self._broker = broker
        self._last: dict[str, tuple[float, float]] = {}

    async def note(self, vector: FeatureVector, snapshot: MarketSnapshot) -> None:
        """The vector's price was announced where that is due."""
        price, said_at = self._last.get(vector.symbol, (0.0, float("-inf")))
        since_s = time.monotonic() - said_at
        if since_s < (LONGEST_SILENCE_S if price == snapshot.price else LEAST_INTERVAL_S):
            return
        self._last[vector.symbol] = (snapshot.price, time.monotonic())
        seen = PriceSeen(
            symbol=vector.symbol, price=Decimal(repr(snapshot.price)), timestamp=vector.timestamp
        )
        await bus.announce(self._broker, topology.PRICE_SEEN, seen)
