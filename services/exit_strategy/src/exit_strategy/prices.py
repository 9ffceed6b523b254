"""The price of a symbol while `price.seen` is silent: the Feature Service's, else the Position Manager's.

Never derived from a profit. What one of them last said stands beside the price, so that a position that is
blind can say why.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import structlog

from common.core.exits.position import Price
from common.core.market_feed import fingerprint
from common.errors import FleetError
from common.feature_service import FeatureService
from common.messages import FeatureVector
from common.position_manager import Position, PositionManager
from exit_strategy.core.price_choice import FEATURES_LATEST, POSITION_MANAGER
from exit_strategy.events import Event

log = structlog.get_logger(__name__)

PRICE_FEATURE = "mid_price"


class _Sight(msgspec.Struct, frozen=True):
    fingerprint: Mapping[str, float]
    since: datetime


class AskedPrices:
    """Prices that are asked for; remembers since when a symbol's market stands still, and what went wrong."""

    def __init__(self, features: FeatureService, manager: PositionManager, max_age: timedelta) -> None:
        self._features = features
        self._manager = manager
        self._max_age = max_age
        self._sights: dict[str, _Sight] = {}
        self._causes: dict[str, str] = {}

    async def latest(self, symbol: str, now: datetime) -> Price:
        """The price of this moment, or one without a value: no answer, no price in it, or a dead market."""
        try:
            vector = await self._features.latest(symbol)
        except FleetError as error:
            fault = str(error)
        else:
            price = self._of_vector(vector)
            if isinstance(price, Price):
                self._causes.pop(symbol, None)
                return price
            fault = price
        return await self._of_position(symbol, now, fault)

    def booked(self, position: Position, now: datetime) -> Price | None:
        """The Position Manager's own price, where its row is recent enough to be believed."""
        if position.current_price is None or position.last_updated < now - self._max_age:
            return None
        return Price(value=position.current_price, seen_at=position.last_updated, source=POSITION_MANAGER)

    def cause(self, symbol: str) -> str:
        """Why no price of `symbol` could be had when it was last asked for."""
        return self._causes.get(symbol, "nobody was asked for a price yet")

    def keep(self, symbols: set[str]) -> None:
        """Of all other symbols nothing is remembered: their prices come by themselves, or nobody asks."""
        self._sights = {symbol: sight for symbol, sight in self._sights.items() if symbol in symbols}
        self._causes = {symbol: cause for symbol, cause in self._causes.items() if symbol in symbols}

    # The price of a vector, or what is wrong with it.
    def _of_vector(self, vector: FeatureVector) -> Price | str:
        value = vector.features.get(PRICE_FEATURE)
        if value is None:
            return f"the vector has no {PRICE_FEATURE}"
        if vector.timestamp - self._stands_since(vector) >= self._max_age:
            return "the market has not moved for MARKET_DATA_MAX_AGE_SECONDS"
        return Price(value=Decimal(repr(value)), seen_at=vector.timestamp, source=FEATURES_LATEST)

    async def _of_position(self, symbol: str, now: datetime, fault: str) -> Price:
        try:
            position = await self._manager.position(symbol)
        except FleetError as error:
            return self._none(symbol, now, f"{fault}; {error}")
        booked = None if position is None else self.booked(position, now)
        if booked is None:
            return self._none(symbol, now, f"{fault}; the Position Manager has no recent price")
        self._causes.pop(symbol, None)
        return booked

    def _stands_since(self, vector: FeatureVector) -> datetime:
        seen = fingerprint(vector.features)
        sight = self._sights.get(vector.symbol)
        if sight is None or sight.fingerprint != seen:
            sight = self._sights[vector.symbol] = _Sight(seen, vector.timestamp)
        return sight.since

    def _none(self, symbol: str, now: datetime, reason: str) -> Price:
        self._causes[symbol] = reason
        log.warning(Event.PRICE_NOT_READ, symbol=symbol, reason=reason)
        return Price(value=None, seen_at=now, source=FEATURES_LATEST)
