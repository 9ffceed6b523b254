"""Vectors over REST: the only source where the queue is not used, the second one while a stream is silent.

Each wanted symbol is asked for about once a second, apart from all others: a slow one holds up nobody. A
Feature Service that answers nothing (it does so for minutes while it builds a dataset) is asked ever more
rarely and by one question at a time; the queue's vectors go their own way meanwhile.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

import structlog
from prometheus_client import Counter, Gauge

from common import tracing
from common.errors import Unusable
from common.feature_service import FeatureService
from common.messages import FeatureVector
from inference.core.pace import Pace
from inference.events import Event
from inference.live_vectors import LiveVectors

log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 1.0
"""The platform's fastest rhythm."""
CONCURRENT = 8
"""Questions under way at most."""
DEAF_AFTER = 3
"""Questions in a row, of any symbols, without an answer: only one at a time is sent until one is answered."""

POLLED = Counter("flotilla_features_polled", "Questions for a vector over REST.", ["result"])
SILENT_STREAMS = Gauge("flotilla_streams_silent", "Traded symbols whose stream is silent: REST takes over.")
FALLBACKS = Counter("flotilla_stream_fallbacks", "Streams that fell silent.")

Take = Callable[[FeatureVector], Awaitable[None]]


class RestVectors:
    """Asks for the vectors of the symbols that `wanted` names, and hands each to `take`."""

    def __init__(
        self,
        features: FeatureService,
        take: Take,
        wanted: Callable[[], Iterable[str]],
        *,
        interval_s: float = POLL_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._features = features
        self._take = take
        self._wanted = wanted
        self._interval_s = interval_s
        self._clock = clock
        self._unanswered = 0
        self._probing = Pace()
        self._probe: str | None = None
        self._paces: dict[str, Pace] = {}
        self._asking: set[str] = set()
        self._taking: set[str] = set()

    async def run(self) -> None:
        """For ever: what is wanted is asked for when it is due."""
        async with asyncio.TaskGroup() as questions:
            while True:
                for symbol in self._due():
                    self._asking.add(symbol)
                    questions.create_task(self._ask(symbol))
                await asyncio.sleep(self._interval_s / 4)

    async def problem(self) -> str | None:
        """Whether the Feature Service answers what it is asked, for /health."""
        return "the Feature Service does not answer over REST" if self._is_deaf() else None

    def _due(self) -> list[str]:
        now, wanted = self._clock(), set(self._wanted())
        # What is wanted again later starts anew: its pause was that of another outage.
        self._unanswered = self._unanswered if wanted else 0
        self._paces = {each: pace for each, pace in self._paces.items() if each in wanted}
        due = [
            (self._paces.get(symbol, Pace()).next_at, symbol)
            for symbol in wanted - self._asking - self._taking
            if now >= self._paces.get(symbol, Pace()).next_at
        ]
        symbols = [symbol for _, symbol in sorted(due)]
        if not self._is_deaf():
            return symbols[: max(CONCURRENT - len(self._asking), 0)]
        if self._asking or now < self._probing.next_at:
            return []
        self._probe = next(iter(symbols), None)
        return symbols[:1]

    def _is_deaf(self) -> bool:
        return self._unanswered >= DEAF_AFTER

    async def _ask(self, symbol: str) -> None:
        with tracing.bound(tracing.new(), symbol=symbol):
            try:
                vector = await self._features.latest(symbol)
            except Exception as error:  # noqa: BLE001 - one question must not end those of the others
                self._note_failure(symbol, error)
                return
            finally:
                self._asking.discard(symbol)
            self._note_answer(symbol)
            self._taking.add(symbol)
            try:
                await self._take(vector)
            except Exception as error:  # noqa: BLE001 - the outermost shell of this vector, as the bus is of others
                log.warning(Event.POLLED_VECTOR_LOST, reason=f"{type(error).__name__}: {error}")
            finally:
                self._taking.discard(symbol)

    def _note_answer(self, symbol: str) -> None:
        now = self._clock()
        POLLED.labels("answered").inc()
        self._note_sign_of_life()
        self._paces[symbol] = self._paces.get(symbol, Pace()).answered(now, self._interval_s)

    def _note_sign_of_life(self) -> None:
        if self._is_deaf():
            log.info(Event.FEATURE_SERVICE_ANSWERS)
            self._paces.clear()
        self._unanswered = 0

    def _note_failure(self, symbol: str, error: Exception) -> None:
        now = self._clock()
        POLLED.labels("failed").inc()
        pace = self._paces.get(symbol, Pace())
        if isinstance(error, Unusable):  # what is no vector is an answer as well
            self._note_sign_of_life()
        self._paces[symbol] = pace.failed(now, self._interval_s)
        if not pace.failures and not self._is_deaf():
            log.warning(Event.FEATURE_POLL_FAILED, symbol=symbol, reason=str(error))
        if isinstance(error, Unusable):
            return
        if self._is_deaf():
            # Those under way when it fell deaf say nothing new.
            if symbol == self._probe:
                self._probing = self._probing.failed(now, self._interval_s)
        else:
            self._unanswered += 1
            if self._is_deaf():
                self._probing, self._probe = Pace().failed(now, self._interval_s), None
                log.warning(Event.FEATURE_SERVICE_DEAF, reason=str(error))


class SilentStreams:
    """Which traded symbols need REST because their stream is silent; says so when that changes."""

    def __init__(self, live: LiveVectors, traded: Callable[[], frozenset[str] | None]) -> None:
        self._live = live
        self._traded = traded
        self._silent: frozenset[str] = frozenset()

    def symbols(self) -> frozenset[str]:
        """The symbols to poll now."""
        traded = self._traded()
        silent = frozenset(self._live.silent(self._live.symbols() if traded is None else traded))
        if fell := silent - self._silent:
            FALLBACKS.inc(len(fell))
            log.warning(Event.STREAM_SILENT, symbols=sorted(fell))
        if back := self._silent - silent:
            log.info(Event.STREAM_BACK, symbols=sorted(back))
        SILENT_STREAMS.set(len(silent))
        self._silent = silent
        return silent

    async def problem(self) -> str | None:
        """Which streams are silent, for /health."""
        if not self._silent:
            return None
        named = ", ".join(sorted(self._silent)[:10])
        return f"no vectors by the queue, polled over REST: {named} ({len(self._silent)} in all)"


def polled_symbols(live: LiveVectors, traded: Callable[[], frozenset[str] | None]) -> frozenset[str]:
    """What is polled where the queue is not used: every traded symbol."""
    symbols = traded()
    return frozenset(live.symbols()) if symbols is None else symbols
