"""The price of a symbol while `price.seen` is silent: the Feature Service, asked directly."""

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
from exit_strategy.events import Event

log = structlog.get_logger(__name__)

PRICE_FEATURE = "mid_price"


class _Sight(msgspec.Struct, frozen=True):
    fingerprint: Mapping[str, float]
    since: datetime


class AskedPrices:
    """Prices asked of the Feature Service; remembers since when a symbol's market stands still."""

    def __init__(self, features: FeatureService, max_age: timedelta) -> None:
        self._features = features
        self._max_age = max_age
        self._sights: dict[str, _Sight] = {}

    async def latest(self, symbol: str, now: datetime) -> Price:
        """The price of this moment, or one without a value: no answer, no price in it, or a dead market."""
        try:
            vector = await self._features.latest(symbol)
        except FleetError as error:
            return self._none(symbol, now, str(error))
        value = vector.features.get(PRICE_FEATURE)
        if value is None:
            return self._none(symbol, now, f"the vector has no {PRICE_FEATURE}")
        if vector.timestamp - self._stands_since(vector) >= self._max_age:
            return self._none(symbol, now, "the market has not moved for MARKET_DATA_MAX_AGE_SECONDS")
        return Price(value=Decimal(repr(value)), seen_at=vector.timestamp, source="features_latest")

    def keep(self, symbols: set[str]) -> None:
        """Of all other symbols nothing is remembered: their prices come by themselves, or nobody asks."""
        self._sights = {symbol: sight for symbol, sight in self._sights.items() if symbol in symbols}

    def _stands_since(self, vector: FeatureVector) -> datetime:
        seen = fingerprint(vector.features)
        sight = self._sights.get(vector.symbol)
        if sight is None or sight.fingerprint != seen:
            sight = self._sights[vector.symbol] = _Sight(seen, vector.timestamp)
        return sight.since

    def _none(self, symbol: str, now: datetime, reason: str) -> Price:
        log.warning(Event.PRICE_NOT_READ, symbol=symbol, reason=reason)
        return Price(value=None, seen_at=now, source="features_latest")
