"""What this worker knows of the streams: the newest vector of each symbol, and who was heard when.

features.live has many consumers: a worker sees only its share of a symbol's vectors, and with an unlucky
count of symbols and replicas none of them. Whether a stream is silent is therefore the fleet's knowledge:
every worker tells its peers, about once a second, of which symbols the queue brought it fresh vectors.
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec
from faststream.rabbit import RabbitBroker

from common import bus, topology
from common.messages import FeaturesHeard, FeatureVector
from inference.core.stream import FUTURE_TOLERANCE_S

MAX_SYMBOLS = 2_000
"""Symbols remembered at most; beyond it the one heard longest ago is forgotten."""


class LiveVectorsLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long what is known of a stream holds, in seconds."""

    ttl_s: float
    """A vector is somebody's latest for so long after it came."""
    silence_s: float
    """A stream that brought nothing fresh for so long is silent."""
    max_age_s: float
    """An older vector is no sign of life: a backlog is being drained."""


class _Known(msgspec.Struct):
    vector: FeatureVector | None = None
    vector_at: float = 0.0
    came_at: float = 0.0
    """When a vector of the symbol last came, by any way and of any age."""
    heard_at: float | None = None
    """When the queue last brought a fresh one to anybody in the fleet."""


class LiveVectors:
    """The newest vectors and the streams' signs of life; `clock` is monotonic, in seconds."""

    def __init__(
        self,
        limits: LiveVectorsLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_symbols: int = MAX_SYMBOLS,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._max_symbols = max_symbols
        self._known: dict[str, _Known] = {}
        self._started_at = clock()
        self._to_tell: set[str] = set()

    def note(self, vector: FeatureVector, *, polled: bool = False) -> None:
        """A vector came; by the queue, unless it was `polled`."""
        now = self._clock()
        known = self._of(vector.symbol)
        known.came_at = now
        age_s = (datetime.now(UTC) - vector.timestamp).total_seconds()
        if not -FUTURE_TOLERANCE_S <= age_s <= self._limits.max_age_s:
            return
        if known.vector is None or vector.timestamp > known.vector.timestamp:
            known.vector, known.vector_at = vector, now
        if not polled:
            known.heard_at = now
            self._to_tell.add(vector.symbol)

    def note_heard(self, symbols: Iterable[str]) -> None:
        """A peer had fresh vectors of `symbols` by the queue."""
        now = self._clock()
        for symbol in symbols:
            known = self._of(symbol)
            known.came_at = known.heard_at = now

    def latest(self, symbol: str) -> FeatureVector | None:
        """The newest vector of the symbol that came to this worker, if one came within the TTL."""
        known = self._known.get(symbol)
        holds = known is not None and self._clock() - known.vector_at <= self._limits.ttl_s
        return known.vector if known is not None and holds else None

    def symbols(self) -> tuple[str, ...]:
        """Every symbol that a vector came of, by any way."""
        return tuple(self._known)

    def silent(self, symbols: Iterable[str]) -> tuple[str, ...]:
        """Those of `symbols` whose stream brought nobody in the fleet anything fresh for the silence."""
        now = self._clock()
        return tuple(symbol for symbol in symbols if now - self._heard_at(symbol) > self._limits.silence_s)

    def quiet_s(self, symbols: Iterable[str]) -> float:
        """Seconds since a vector of any of `symbols` came to anybody; none ever: since the start."""
        came = (known.came_at for each in symbols if (known := self._known.get(each)))
        return self._clock() - max(came, default=self._started_at)

    async def tell(self, broker: RabbitBroker) -> None:
        """Peers hear which streams are alive; nothing is said when nothing came."""
        told, self._to_tell = self._to_tell, set()
        if told:
            await bus.announce(broker, topology.FEATURES_HEARD, FeaturesHeard(symbols=tuple(sorted(told))))

    def _heard_at(self, symbol: str) -> float:
        known = self._known.get(symbol)
        return self._started_at if known is None or known.heard_at is None else known.heard_at

    def _of(self, symbol: str) -> _Known:
        known = self._known.pop(symbol, None) or _Known()
        while len(self._known) >= self._max_symbols:
            del self._known[next(iter(self._known))]
        self._known[symbol] = known  # the last in order: heard most recently
        return known
