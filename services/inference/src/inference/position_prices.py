"""Prices of open positions, for registries whose vectors carry none.

The Position Manager's current price is usually absent and always as old as it says; screening believes it
only while it is recent. It is asked for only while vectors without a price come.
"""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from common.errors import FleetError
from common.position_manager import Position
from inference.core.snapshot import KnownPrice, SnapshotFeatures, feature_of
from inference.events import Event
from inference.live_vectors import LiveVectors

log = structlog.get_logger(__name__)

REFRESH_INTERVAL_S = 2.0
"""How often the Position Manager is asked while its prices are needed."""


class PositionPrices:
    """The prices that open positions were last seen at."""

    def __init__(
        self,
        positions: Callable[[], Awaitable[Sequence[Position]]],
        live: LiveVectors,
        names: SnapshotFeatures,
    ) -> None:
        self._positions = positions
        self._live = live
        self._names = names
        self._known: dict[str, KnownPrice] = {}
        self._is_needed = False

    def of(self, symbol: str) -> KnownPrice | None:
        """The position's price where the symbol's vectors carry none; asked for by the next refresh."""
        vector = self._live.latest(symbol)
        if vector is None or feature_of(vector, self._names.price) is not None:
            return None
        self._is_needed = True
        return self._known.get(symbol)

    async def refresh(self) -> None:
        """Where prices were needed since the last time, they are those of this moment; or none."""
        if not self._is_needed:
            return
        self._is_needed = False
        try:
            positions = await self._positions()
        except FleetError as error:
            log.warning(Event.POSITION_NOT_READ, reason=str(error))
            return
        self._known = {
            position.symbol: KnownPrice(price=position.current_price, at=position.last_updated)
            for position in positions
            if position.current_price is not None
        }
