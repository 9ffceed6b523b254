"""What is held: the symbol's position, and what all the others are worth at the newest known prices."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

import msgspec
import structlog

from common.errors import FleetError
from common.messages import FeatureVector, MarketSnapshot, Side
from common.position_manager import Booked, Position
from inference.core.case import Limits, Situation
from inference.events import Event

log = structlog.get_logger(__name__)

PATIENCE_S = 1.0
"""Longest that a decision waits for positions: the prices that exits live on queue up behind it."""


class Positions(Protocol):
    """Where holdings are looked up; both raise FleetError where that is unknown."""

    async def booked(self, symbol: str, *, anew: bool = False) -> Booked:
        """What is booked of the symbol; `anew`: asked, not remembered."""

    async def everything(self) -> Mapping[str, Booked]:
        """What is booked of every symbol."""


class Holdings:
    """Positions as the Position Manager books them, prices as this worker has seen them."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._prices: dict[str, Decimal] = {}

    def note(self, vector: FeatureVector, snapshot: MarketSnapshot) -> None:
        """The newest price of the vector's symbol is that of `snapshot`."""
        self._prices[vector.symbol] = Decimal(repr(snapshot.price))

    async def completed(self, known: Situation, symbol: str, side: Side, limits: Limits) -> Situation:
        """`known` with the positions as far as a signal on `side` needs them; unknown ones say why."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                booked = await self._of_symbol(known, symbol, side)
                others = await self._worth_of_others(symbol) if _needs_others(limits) else None
        except (FleetError, TimeoutError) as error:
            problem = str(error) or f"the Position Manager did not answer within {PATIENCE_S:g} s"
            log.debug(Event.POSITION_NOT_READ, reason=problem)
            return msgspec.structs.replace(known, position_problem=problem)
        return msgspec.structs.replace(
            known,
            live_size=booked.position.size if booked.position else Decimal(0),
            booked_at=booked.booked_at,
            other_exposure_quote=others,
        )

    async def _of_symbol(self, known: Situation, symbol: str, side: Side) -> Booked:
        # A remembered long may be sold already: selling it again would open a short.
        if side == "sell":
            return await self._positions.booked(symbol, anew=True)
        booked = await self._positions.booked(symbol)
        filled_at = known.newest_fill_at
        if filled_at is not None and (booked.booked_at is None or booked.booked_at < filled_at):
            return await self._positions.booked(symbol, anew=True)
        return booked

    async def _worth_of_others(self, symbol: str) -> Decimal:
        listing = await self._positions.everything()
        worths = (self._worth(booked.position) for name, booked in listing.items() if name != symbol)
        return sum(worths, Decimal(0))

    # Most rows have no current price. One without any price at all is left out: that makes the limit tighter.
    def _worth(self, position: Position | None) -> Decimal:
        if position is None:
            return Decimal(0)
        price = self._prices.get(position.symbol, position.current_price or position.average_entry_price)
        return abs(position.size) * max(price or Decimal(0), Decimal(0))


def _needs_others(limits: Limits) -> bool:
    return limits.max_exposure_quote is None and limits.max_position_ratio < 1
