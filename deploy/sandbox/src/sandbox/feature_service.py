"""The Feature Service, simulated: live vectors on the bus, the latest one and datasets on request.

It speaks the real one's contract, traps included: four untagged schedulers per symbol, a timestamp
that is the moment of computing and so stays fresh while the market stands still, zeros for a symbol
it does not know, a 500 in plain text for a wrong key, and silence on all sides while a dataset is built.
A vector that finds no broker is lost, and so is the news of a dataset whose queue nobody declared.
"""

import asyncio
import hmac
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import aio_pika
import msgspec
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from litestar import Litestar, MediaType, Request, Response, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import FromQuery
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.core.features import REGISTRY_VERSION
from sandbox.dataset_api import dataset_router
from sandbox.dataset_builds import DatasetBuilds
from sandbox.market import Market
from sandbox.outages import BROKER_IS_AWAY

QUEUE = "features.live"
READY_QUEUE = "features.dataset.ready"
RHYTHM_S = (1.0, 3.0, 15.0, 60.0)
PUBLISH_TIMEOUT_S = 2.0

# What is said of a symbol without market data: zeros and neutral ratios, and nothing made of prices.
COLD_FEATURES = {"volume_1": 0.0, "volume_ratio_12": 1.0, "volume_ratio_48": 1.0}

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]


def utcnow() -> datetime:
    """The wall clock, UTC-aware."""
    return datetime.now(UTC)


def create_app(market: Market, builds: DatasetBuilds, *, api_key: str, clock: Clock = utcnow) -> Litestar:
    """The REST surface; every route but /health wants `api_key` in X-API-Key.

    While `builds` does not hear, no route answers, /health included.
    """
    return Litestar(
        [health, latest_features, dataset_router(require_key)],
        middleware=[_deaf_unless(builds.hearing)],
        dependencies={
            "builds": Provide(lambda: builds, sync_to_thread=False),
            "market": Provide(lambda: market, sync_to_thread=False),
            "clock": Provide(lambda: clock, sync_to_thread=False),
        },
        exception_handlers={WrongKey: _internal_server_error},
        state=State({"api_key": api_key}),
        openapi_config=None,
        logging_config=None,
    )


async def publish_live(
    market: Market,
    amqp_url: str,
    *,
    hearing: asyncio.Event | None = None,
    rhythm_s: Sequence[float] = RHYTHM_S,
    clock: Clock = utcnow,
) -> None:
    """Publishes every symbol's vector at each rhythm until cancelled, with or without a broker at first.

    While `hearing` is clear, all symbols pause.
    """
    connection = await aio_pika.connect_robust(amqp_url, fail_fast="0", reconnect_interval="1")
    async with connection:
        feed = _LiveFeed(market, await _declared(connection), hearing, clock)
        async with asyncio.TaskGroup() as schedulers:
            for symbol in market.symbols:
                for period_s in rhythm_s:
                    schedulers.create_task(feed.run(symbol, period_s))


async def announce_dataset(amqp_url: str, message: dict[str, Any]) -> None:
    """Tries once to send features.dataset.ready; without a broker or a declared queue it is lost."""
    try:
        async with asyncio.timeout(PUBLISH_TIMEOUT_S), await aio_pika.connect(amqp_url) as connection:
            channel = await connection.channel()
            await channel.default_exchange.publish(
                aio_pika.Message(
                    msgspec.json.encode(message),
                    content_type="application/json",
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    message_id=uuid.uuid4().hex,
                ),
                routing_key=READY_QUEUE,
                mandatory=False,
            )
    except BROKER_IS_AWAY as error:
        log.warning(
            "broker away, a dataset's news is lost", dataset_id=message["dataset_id"], error=repr(error)
        )


def vector_message(market: Market, symbol: str, now: datetime) -> dict[str, Any]:
    """The FeatureVector of `symbol` computed at `now`, in the wire's form; trace_id is absent."""
    return {
        "timestamp": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "symbol": symbol,
        "features": market.vector(symbol, now) or COLD_FEATURES,
        "feature_registry_version": REGISTRY_VERSION,
    }


class WrongKey(Exception):
    """X-API-Key is missing or wrong: answered as the real service does, with a 500."""


def require_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Lets the request pass if its X-API-Key is ours; raises WrongKey otherwise."""
    given = connection.headers.get("X-API-Key", "")
    if not hmac.compare_digest(given.encode(), connection.app.state.api_key.encode()):
        raise WrongKey


@get("/health")
async def health() -> dict[str, str]:
    """Answers without a key."""
    return {"status": "healthy", "service": "feature-service"}


@get("/features/latest", guards=[require_key])
async def latest_features(
    market: NamedDependency[Market],
    clock: NamedDependency[Clock],
    symbol: FromQuery[str | None] = None,
) -> Response[dict[str, Any]]:
    """The vector computed now; cold, but still 200, for a symbol the market does not have."""
    if symbol is None:
        missing = {"type": "missing", "loc": ["query", "symbol"], "msg": "Field required", "input": None}
        return Response({"detail": [missing]}, status_code=422)
    return Response(vector_message(market, symbol, clock()))


# A service that computes on its event loop neither reads requests nor sends answers.
def _deaf_unless(hearing: asyncio.Event) -> Callable[[ASGIApp], ASGIApp]:
    def wrapped(app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_later(message: Message) -> None:
                await hearing.wait()
                await send(message)

            await hearing.wait()
            await app(scope, receive, send_later)

        return answer

    return wrapped


def _internal_server_error(_: Request[Any, Any, Any], __: WrongKey) -> Response[str]:
    return Response("Internal Server Error", status_code=500, media_type=MediaType.TEXT)


# A broker that has just come up may still refuse a declaration.
async def _declared(connection: AbstractConnection) -> AbstractChannel:
    while True:
        try:
            channel = await connection.channel()
            await channel.declare_queue(QUEUE, durable=True)
        except CONNECTION_EXCEPTIONS as error:
            log.warning("queue not declared, trying again", queue=QUEUE, error=str(error))
            await asyncio.sleep(1)
        else:
            return channel


class _LiveFeed:
    def __init__(
        self, market: Market, channel: AbstractChannel, hearing: asyncio.Event | None, clock: Clock
    ) -> None:
        self._market = market
        self._channel = channel
        self._hearing = hearing
        self._clock = clock
        self._lost = 0
        self._dead_feed_told = False

    async def run(self, symbol: str, period_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + period_s, loop.time())
            await asyncio.sleep(due - loop.time())
            if self._hearing is not None:
                await self._hearing.wait()
            now = self._clock()
            self._tell_dead_feed(now)
            await self._publish(msgspec.json.encode(vector_message(self._market, symbol, now)))

    async def _publish(self, body: bytes) -> None:
        message = aio_pika.Message(
            body, content_type="application/json", delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        )
        sending = asyncio.create_task(self._channel.default_exchange.publish(message, routing_key=QUEUE))
        # Awaited from outside: a dying connection cancels what waits on it, which must not end the scheduler.
        try:
            await asyncio.wait({sending}, timeout=PUBLISH_TIMEOUT_S)
        finally:
            sending.cancel()
        self._count(delivered=sending.done() and not sending.cancelled() and sending.exception() is None)

    def _count(self, *, delivered: bool) -> None:
        if not delivered:
            self._lost += 1
            if self._lost == 1:
                log.warning("broker away, vectors are lost")
        elif self._lost:
            log.info("broker back", vectors_lost=self._lost)
            self._lost = 0

    def _tell_dead_feed(self, now: datetime) -> None:
        if self._market.exhausted(now) and not self._dead_feed_told:
            self._dead_feed_told = True
            log.warning("candles exhausted, the same features go on under fresh timestamps")
