"""The Position Manager over REST: which position is open, of which size, entered at which price.

TRAP: a closed position stays there as a row of size "0E-8", and most rows have no current price.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Literal

import httpx
import msgspec
import structlog
from prometheus_client import Counter, Gauge
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, SecretStr

from common.errors import UNREADABLE, FleetError, TryAgain, Unusable
from common.messages import in_utc, is_bookable
from common.neighbour import ask, http_client
from common.settings import NeighbourSettings, Port
from common.telemetry import Event

log = structlog.get_logger(__name__)

HITS = Counter("flotilla_position_cache_hits", "Questions about positions answered from memory.")
MISSES = Counter("flotilla_position_cache_misses", "Questions that asked the Position Manager.")
SIZE = Gauge("flotilla_position_cache_size", "Symbols whose position is remembered.")

MAX_ANSWER_BYTES = 5_000_000
"""A longer answer is garbage."""
_LEAST_PAUSE_S = 0.2


class PositionManagerSettings(NeighbourSettings):
    """How to reach the Position Manager, and how long to believe it."""

    position_manager_scheme: Literal["http", "https"] = "http"
    """https: encrypted, certificate and host name verified."""

    position_manager_host: str = "localhost"
    """Host of the Position Manager."""
    position_manager_port: Port = 4800
    """Its port."""
    position_manager_api_key: SecretStr = SecretStr("")
    """Sent as X-API-Key."""
    position_manager_timeout_seconds: PositiveFloat = 5.0
    """Longest wait for one answer, in seconds."""
    position_cache_enabled: bool = True
    """Remember positions between decisions; false: every decision asks."""
    position_cache_ttl_seconds: NonNegativeFloat = 30.0
    """Longest time that a remembered position is believed, in seconds."""
    position_cache_max_size: PositiveInt = 1000
    """Positions remembered at most."""

    def position_manager_url(self) -> str:
        """Base URL of its REST interface."""
        return f"{self.position_manager_scheme}://{self.position_manager_host}:{self.position_manager_port}"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """An open position as the Position Manager books it."""

    symbol: str = msgspec.field(name="asset")
    size: Decimal
    """Base currency, + long, - short, never 0."""
    average_entry_price: Decimal | None = None
    """Quote currency."""
    current_price: Decimal | None = None
    """Quote currency; as old as `last_updated`, and usually absent."""
    last_updated: datetime

    def __post_init__(self) -> None:
        figures = (self.size, self.average_entry_price, self.current_price)
        if not all(figure is None or is_bookable(figure) for figure in figures):
            raise ValueError(f"{self.symbol}: not every figure can be booked")
        msgspec.structs.force_setattr(self, "last_updated", in_utc(self.last_updated))


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """What the Position Manager knows of a symbol, and since when."""

    position: Position | None
    """None: there is no open position."""
    booked_at: datetime | None
    """When its row last changed; None: it has no row of the symbol."""


class _Listing(msgspec.Struct):
    positions: list[Position]


_NOTHING = Booked(position=None, booked_at=None)
_one = msgspec.json.Decoder(Position)
_listing = msgspec.json.Decoder(_Listing)


class PositionManager:
    """A client with one connection pool; close it with `aclose`."""

    def __init__(
        self, settings: PositionManagerSettings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._timeout_s = settings.position_manager_timeout_seconds
        self._http = http_client(
            settings.position_manager_url(),
            settings.position_manager_api_key,
            timeout_s=self._timeout_s,
            ca_file=settings.neighbour_ca_file,
            transport=transport,
        )

    async def position(self, symbol: str) -> Position | None:
        """The open position of `symbol`; None: there is none. Raises as `booked` does."""
        return (await self.booked(symbol)).position

    async def booked(self, symbol: str) -> Booked:
        """What is booked of `symbol` now.

        Raises TryAgain where the service does not answer, Unusable where what it answers is no position of
        `symbol`.
        """
        answer = await self._get(f"/api/v1/positions/{symbol}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return _NOTHING
        try:
            position = _one.decode(_body_of(answer))
        except UNREADABLE as error:
            raise Unusable(f"Position Manager answers no position: {error}") from error
        if position.symbol != symbol:
            raise Unusable(f"Position Manager answers {position.symbol} when asked for {symbol}")
        return _booked(position)

    async def positions(self) -> list[Position]:
        """Every open position. Raises as `booked` does."""
        return [booked.position for booked in (await self.listing()).values() if booked.position]

    async def listing(self) -> dict[str, Booked]:
        """Every symbol that has a row, open or closed. Raises as `booked` does."""
        try:
            listing = _listing.decode(_body_of(await self._get("/api/v1/positions")))
        except UNREADABLE as error:
            raise Unusable(f"Position Manager answers no positions: {error}") from error
        return {position.symbol: _booked(position) for position in listing.positions}

    async def aclose(self) -> None:
        """Its connections are closed."""
        await self._http.aclose()

    async def _get(self, path: str) -> httpx.Response:
        return await ask(
            self._http,
            "Position Manager",
            "GET",
            path,
            timeout_s=self._timeout_s,
            max_bytes=MAX_ANSWER_BYTES,
        )


class CachedPositions:
    """Positions remembered for a while, each until its TTL is over or it is known to have changed."""

    def __init__(
        self,
        positions: PositionManager,
        settings: PositionManagerSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._positions = positions
        self._ttl_s = settings.position_cache_ttl_seconds if settings.position_cache_enabled else 0.0
        self._max_size = settings.position_cache_max_size
        self._clock = clock
        self._known: dict[str, tuple[float, Booked]] = {}
        self._listed_until = -math.inf
        self._invalidations = 0
        self._changed = asyncio.Event()

    async def booked(self, symbol: str, *, anew: bool = False) -> Booked:
        """What is booked of `symbol`, at most the TTL old, or asked `anew`; raises as the other does."""
        known = None if anew else self._known.get(symbol)
        if known is not None and self._clock() < known[0]:
            HITS.inc()
            return known[1]
        MISSES.inc()
        asked_at, invalidations = self._clock(), self._invalidations
        booked = await self._positions.booked(symbol)
        # An answer that was under way when something changed may be older than the change.
        if self._ttl_s and invalidations == self._invalidations:
            self._remember(symbol, asked_at + self._ttl_s, booked)
        return booked

    async def everything(self) -> Mapping[str, Booked]:
        """What is booked of every symbol, at most the TTL old; raises as `PositionManager.listing` does."""
        if self._clock() < self._listed_until:
            HITS.inc()
            return {symbol: booked for symbol, (_, booked) in self._known.items()}
        MISSES.inc()
        return await self.refresh()

    def peek(self, symbol: str) -> Position | None:
        """The position as it is remembered, without asking; None: flat, or not known."""
        known = self._known.get(symbol)
        return known[1].position if known else None

    def invalidate(self, symbol: str) -> None:
        """The position of `symbol` changed: the next question asks the Position Manager."""
        self._invalidations += 1
        self._listed_until = -math.inf
        self._known.pop(symbol, None)
        SIZE.set(len(self._known))
        self._changed.set()

    async def refresh(self) -> Mapping[str, Booked]:
        """Every position was asked for in one call, and is remembered; raises as `booked` does."""
        asked_at, invalidations = self._clock(), self._invalidations
        listing = await self._positions.listing()
        if not self._ttl_s or invalidations != self._invalidations:
            return listing
        until = asked_at + self._ttl_s
        # A remembered symbol that is not listed has no row any more.
        for symbol, booked in [*dict.fromkeys(self._known, _NOTHING).items(), *listing.items()]:
            self._remember(symbol, until, booked)
        if len(listing) <= self._max_size:
            self._listed_until = until
        return listing

    async def follow(self) -> None:
        """For ever: every position is asked for three times a TTL, and as soon as one changed."""
        if not self._ttl_s:
            return
        while True:
            self._changed.clear()
            try:
                await self.refresh()
            except FleetError as error:
                log.warning(Event.POSITIONS_NOT_LISTED, reason=str(error))
            await asyncio.sleep(_LEAST_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._ttl_s / 3):
                    await self._changed.wait()

    def _remember(self, symbol: str, until: float, booked: Booked) -> None:
        self._known.pop(symbol, None)
        while len(self._known) >= self._max_size:
            del self._known[next(iter(self._known))]  # the one remembered longest ago
            self._listed_until = -math.inf
        self._known[symbol] = (until, booked)
        SIZE.set(len(self._known))


def _booked(row: Position) -> Booked:
    return Booked(position=row if row.size else None, booked_at=row.last_updated)


def _body_of(answer: httpx.Response) -> bytes:
    if answer.status_code != httpx.codes.OK:
        hint = (
            " (is POSITION_MANAGER_API_KEY right?)" if answer.status_code == httpx.codes.UNAUTHORIZED else ""
        )
        raise TryAgain(f"Position Manager answers {answer.status_code}{hint}")
    return answer.content
