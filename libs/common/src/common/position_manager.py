"""The Position Manager over REST: which position is open, of which size, entered at which price.

TRAP: a closed position stays there as a row of size "0E-8", and most rows have no current price.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import msgspec
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, SecretStr

from common import tracing
from common.errors import TryAgain, Unusable
from common.neighbour import http_client
from common.settings import Port, SettingsGroup

MAX_ANSWER_BYTES = 5_000_000
"""A longer answer is garbage."""


class PositionManagerSettings(SettingsGroup):
    """How to reach the Position Manager, and how long to believe it."""

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
        return f"http://{self.position_manager_host}:{self.position_manager_port}"


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
        if not all(figure is None or figure.is_finite() for figure in figures):
            raise ValueError(f"{self.symbol}: not every figure is finite")
        if self.last_updated.tzinfo is None:
            msgspec.structs.force_setattr(self, "last_updated", self.last_updated.replace(tzinfo=UTC))


class _Listing(msgspec.Struct):
    positions: list[Position]


_one = msgspec.json.Decoder(Position)
_listing = msgspec.json.Decoder(_Listing)


class PositionManager:
    """A client with one connection pool; close it with `aclose`."""

    def __init__(
        self, settings: PositionManagerSettings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = http_client(
            settings.position_manager_url(),
            settings.position_manager_api_key,
            timeout_s=settings.position_manager_timeout_seconds,
            transport=transport,
        )

    async def position(self, symbol: str) -> Position | None:
        """The open position of `symbol`; None: there is none.

        Raises TryAgain where the service does not answer, Unusable where what it answers is no position of
        `symbol`.
        """
        answer = await self._get(f"/api/v1/positions/{symbol}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        try:
            position = _one.decode(_body_of(answer))
        except msgspec.DecodeError as error:
            raise Unusable(f"Position Manager answers no position: {error}") from error
        if position.symbol != symbol:
            raise Unusable(f"Position Manager answers {position.symbol} when asked for {symbol}")
        return position if position.size else None

    async def positions(self) -> list[Position]:
        """Every open position. Raises TryAgain and Unusable as `position` does."""
        try:
            listing = _listing.decode(_body_of(await self._get("/api/v1/positions")))
        except msgspec.DecodeError as error:
            raise Unusable(f"Position Manager answers no positions: {error}") from error
        return [position for position in listing.positions if position.size]

    async def aclose(self) -> None:
        """Its connections are closed."""
        await self._http.aclose()

    async def _get(self, path: str) -> httpx.Response:
        try:
            return await self._http.get(path, headers={"X-Trace-ID": tracing.current()})
        except httpx.HTTPError as error:
            raise TryAgain(f"Position Manager: {type(error).__name__}: {error}") from error


class CachedPositions:
    """Positions remembered for a while; `hits` and `misses` count how often asking was spared."""

    def __init__(
        self,
        positions: PositionManager,
        settings: PositionManagerSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hits = 0
        self.misses = 0
        self._positions = positions
        self._ttl_s = settings.position_cache_ttl_seconds if settings.position_cache_enabled else 0.0
        self._max_size = settings.position_cache_max_size
        self._clock = clock
        self._known: dict[str, tuple[float, Position | None]] = {}
        self._invalidations = 0

    async def position(self, symbol: str) -> Position | None:
        """The position, at most the TTL old; raises as `PositionManager.position` does."""
        known = self._known.get(symbol)
        if known is not None and self._clock() < known[0]:
            self.hits += 1
            return known[1]
        self.misses += 1
        asked_at, invalidations = self._clock(), self._invalidations
        position = await self._positions.position(symbol)
        # An answer that was under way when something changed may be older than the change.
        if self._ttl_s and invalidations == self._invalidations:
            self._remember(symbol, asked_at + self._ttl_s, position)
        return position

    def invalidate(self, symbol: str) -> None:
        """The position of `symbol` changed: the next question asks the Position Manager."""
        self._invalidations += 1
        self._known.pop(symbol, None)

    def _remember(self, symbol: str, until: float, position: Position | None) -> None:
        self._known.pop(symbol, None)
        while len(self._known) >= self._max_size:
            del self._known[next(iter(self._known))]  # the one remembered longest ago
        self._known[symbol] = (until, position)


def _body_of(answer: httpx.Response) -> bytes:
    if answer.status_code != httpx.codes.OK:
        hint = (
            " (is POSITION_MANAGER_API_KEY right?)" if answer.status_code == httpx.codes.UNAUTHORIZED else ""
        )
        raise TryAgain(f"Position Manager answers {answer.status_code}{hint}")
    if len(answer.content) > MAX_ANSWER_BYTES:
        raise Unusable(f"Position Manager answers {len(answer.content)} bytes")
    return answer.content
