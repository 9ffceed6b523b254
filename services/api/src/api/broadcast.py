"""The event stream: what happens in the fleet, told to every client that listens.

One loop a process looks at the database, and only while somebody listens. Each look overlaps the one before,
so that a row whose transaction committed late is found, and what was found before is not told again. Nothing
is kept for those who are away: whoever connects hears `hello`, then everything that is committed after it,
and reads by REST how things stand. A client that reads too slowly is disconnected before it costs memory.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import blake2s

import structlog
from litestar.exceptions import TooManyRequestsException
from sqlalchemy.ext.asyncio import AsyncEngine

from api import metrics
from api.core.news import News, frame, unheard
from api.events import Event
from api.queries.news import OVERLAP, recent
from common import tracing
from common.errors import TryAgain

log = structlog.get_logger(__name__)

KEEP_ALIVE_S = 15.0
"""A stream that is silent for so long carries a comment: proxies and clients see that it lives."""
MAX_WAITING_BYTES = 1_000_000
"""What may wait for one client; more, and it reads too slowly."""
RETRY_AFTER_S = 10

_KEEP_ALIVE = b": keep-alive\n\n"


class Listener:
    """One client of the stream, and what waits for it."""

    def __init__(self, keep_alive_s: float = KEEP_ALIVE_S) -> None:
        self.is_greeted = False
        self.dropped = asyncio.Event()
        """Set once it read too slowly."""
        self._keep_alive_s = keep_alive_s
        self._waiting: list[bytes] = []
        self._is_over = False
        self._stirred = asyncio.Event()

    def tell(self, frames: list[bytes]) -> None:
        """The frames come next, unless too much waits already: then the client is dropped."""
        self._waiting += frames
        if sum(map(len, self._waiting)) > MAX_WAITING_BYTES:
            self._waiting.clear()
            self.dropped.set()
        self._stirred.set()

    def end(self) -> None:
        """After what waits nothing comes."""
        self._is_over = True
        self._stirred.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """What waits, as it comes; in between keep-alives."""
        while True:
            if self._waiting:
                chunk = b"".join(self._waiting)
                self._waiting.clear()
                yield chunk
            elif self._is_over:
                return
            else:
                self._stirred.clear()
                if not await _within(self._keep_alive_s, self._stirred):
                    yield _KEEP_ALIVE


class Broadcast:
    """Looks every `interval_s` for what is new and tells all listeners, of whom there are `max_listeners`."""

    def __init__(self, engine: AsyncEngine, *, interval_s: float, max_listeners: int) -> None:
        self._engine = engine
        self._interval_s = interval_s
        self._max_listeners = max_listeners
        self._listeners: set[Listener] = set()
        self._joined = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._heard: frozenset[str] | None = None
        self._since: datetime | None = None
        self._fails = False
        self._is_over = False

    @contextmanager
    def joined(self) -> Iterator[Listener]:
        """A listener that is told everything from its `hello` on.

        Raises TooManyRequestsException where too many listen already, and TryAgain once all streams ended.
        """
        if self._is_over:
            raise TryAgain("the API stops; ask again")
        if len(self._listeners) >= self._max_listeners:
            raise TooManyRequestsException(
                f"{self._max_listeners} clients listen already, MODEL_SERVICE_MAX_EVENT_LISTENERS",
                extra={"code": "too_many_listeners"},
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        listener = Listener()
        self._listeners.add(listener)
        self._joined.set()
        if self._loop is None:
            self._loop = asyncio.create_task(self._look_while_heard())
        metrics.LISTENERS.inc()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            metrics.LISTENERS.dec()

    def end(self) -> None:
        """Every stream ends, and no other begins."""
        self._is_over = True
        for listener in self._listeners:
            listener.end()

    async def stop(self) -> None:
        """Nothing looks at the database any more."""
        self.end()
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    # Ends of itself once nobody listens; what comes next then begins afresh.
    async def _look_while_heard(self) -> None:
        while self._listeners:
            self._joined.clear()
            with tracing.bound(tracing.new()):
                await self._try_to_look()
            await _within(self._interval_s, self._joined)
        self._loop = self._heard = self._since = None

    async def _try_to_look(self) -> None:
        try:
            await self._look()
        except Exception as error:  # noqa: BLE001 - whatever it is, listeners hear of it by the next look
            if not self._fails:
                log.warning(Event.EVENTS_NOT_READ, reason=f"{type(error).__name__}: {error}")
            self._fails = True
        else:
            self._fails = False

    async def _look(self) -> None:
        async with self._engine.connect() as connection:
            sight = await recent(connection, self._since)
        if not sight.is_whole and self._heard is not None:
            # Whoever comes again reads by REST what is not told here.
            for listener in self._listeners:
                listener.end()
        fresh = [] if self._heard is None else [_frame(news) for news in unheard(sight, self._heard)]
        self._heard = frozenset(news.key for news in sight.news)
        self._since = max(self._since or sight.now - OVERLAP, sight.now - OVERLAP)
        self._tell(fresh, sight.now)

    def _tell(self, fresh: list[bytes], now: datetime) -> None:
        for listener in self._listeners:
            if listener.is_greeted:
                listener.tell(fresh)
            else:
                listener.is_greeted = True
                listener.tell([frame("hello", {"at": now})])


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _frame(news: News) -> bytes:
    return frame(news.name, news.told, event_id=blake2s(news.key.encode(), digest_size=8).hexdigest())
