"""The prices that exits live on: the platform sends no position event when a price moves, so inference does.

A price that moved is announced at most five times a second and symbol, the newest one always in the end;
an unmoved one once every two seconds, so that listeners know that the market is watched. Only vectors that
passed the gates count: a frozen feed must look silent. Nobody who decides waits for it.
"""

import asyncio
import time
from decimal import Decimal

from faststream.rabbit import RabbitBroker

from common import bus, topology
from common.messages import FeatureVector, MarketSnapshot, PriceSeen

LEAST_INTERVAL_S = 0.2
LONGEST_SILENCE_S = 2.0


class PriceFeed:
    """What this worker has seen and announced of each symbol."""

    def __init__(self, broker: RabbitBroker) -> None:
        self._broker = broker
        self._waiting: dict[str, PriceSeen] = {}
        self._said: dict[str, tuple[Decimal, float]] = {}
        self._news = asyncio.Event()

    def note(self, vector: FeatureVector, snapshot: MarketSnapshot) -> None:
        """The vector's price will be announced where that is due."""
        price = Decimal(repr(snapshot.price))
        said, said_at = self._said.get(vector.symbol, (None, 0.0))
        if price != said or time.monotonic() - said_at >= LONGEST_SILENCE_S:
            self._waiting[vector.symbol] = PriceSeen(
                symbol=vector.symbol, price=price, timestamp=vector.timestamp
            )
            self._news.set()

    async def run(self) -> None:
        """For ever: what waits is announced, the newest price of each symbol."""
        while True:
            await self._news.wait()
            self._news.clear()
            waiting, self._waiting = self._waiting, {}
            for symbol, seen in waiting.items():
                self._said[symbol] = (seen.price, time.monotonic())
                await bus.announce(self._broker, topology.PRICE_SEEN, seen)
            await asyncio.sleep(LEAST_INTERVAL_S)
