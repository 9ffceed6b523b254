"""The frame of a service: what starts, in which order, and how it stops.

HTTP answers at once, so a process is alive while it waits for its broker and database; it is ready once it
consumes. Stopping lets handlers finish what they began, then closes what they used.
"""

import errno
import gc
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Literal, TypeVar

import msgspec
import structlog
import uvicorn
from faststream.asgi import AsgiResponse
from faststream.asgi.types import ASGIApp, Receive, Scope, Send
from faststream.rabbit import RabbitBroker, RabbitQueue
from sqlalchemy.ext.asyncio import AsyncEngine

from common import bus, secret_settings
from common.background import BackgroundTasks
from common.probes import Check, Consumer, Probes, database_check, queue_check
from common.settings import EXIT_BAD_CONFIGURATION, ProcessSettings, load
from common.telemetry import Event, configure_logging
from common.watchdog import Watchdog

log = structlog.get_logger(__name__)

GRACE_S = 15
"""How long open HTTP requests may take to finish after SIGTERM, in seconds."""

YOUNG_OBJECTS = 10_000
"""How many objects are made before the youngest are searched for garbage; Python's own figure is 700."""

_NOT_FOUND = AsgiResponse(b"not found", 404)

A = TypeVar("A", bound=Callable[..., Any])
S = TypeVar("S", bound=ProcessSettings)


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What a service is made of."""

    name: str
    engine: AsyncEngine
    broker: RabbitBroker
    queues: Sequence[RabbitQueue] = ()
    """Exist before anything is consumed or published."""
    consumers: Sequence[Consumer] = ()
    """Consume beside the broker's subscribers, once there are queues; they stop before anything else does."""
    work: Sequence[Callable[[], Coroutine[object, object, None]]] = ()
    """Runs beside the messages until the service stops."""
    closing: Sequence[Callable[[], Awaitable[object]]] = ()
    """Runs in order once nothing is handled any more."""
    needs: Mapping[str, Check] = {}
    """Checks without which the service is not ready: what its start has to do once."""
    concerns: Mapping[str, Check] = {}
    """Checks that degrade the service without making it unready."""


def create_asgi(service: Service) -> ASGIApp:
    """The service as an ASGI application: its probes over HTTP, its life from lifespan start to end."""

    async def start_consumers() -> None:
        for consumer in service.consumers:
            await consumer.start()

    async def consume() -> None:
        await bus.connect(service.broker, *service.queues, then=start_consumers)
        log.info(Event.SERVICE_READY)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        log.info(Event.SERVICE_STARTED)
        async with BackgroundTasks() as tasks:
            for work in (consume, *service.work):
                tasks.start(work())
            yield
            for consumer in service.consumers:
                await consumer.stop()
        await service.broker.stop()
        for close in service.closing:
            await close()
        await service.engine.dispose()
        log.info(Event.SERVICE_STOPPED)

    probes = Probes(
        service.name,
        database=database_check(service.engine),
        queue=queue_check(service.broker, service.consumers),
        needs=service.needs,
        concerns=service.concerns,
    )
    routes = dict(probes.routes())

    # Not AsgiFastStream: that answers HTTP only once the broker is there.
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(lifespan(), receive, send)
        else:
            await routes.get(scope["path"], _NOT_FOUND)(scope, receive, send)

    return app


def run(
    name: str,
    settings_type: type[S],
    create_app: Callable[[S], A],
    *,
    port_variable: str,
    stopping: Callable[[A], None] | None = None,
    loop: Literal["asyncio", "uvloop"] = "asyncio",
    http: Literal["h11", "httptools"] = "h11",
) -> None:
    """The ASGI application of a process answers until SIGTERM or SIGINT.

    `port_variable` names the setting with its port. `stopping` is called before open requests are waited for,
    and ends those that would not end of themselves. `loop` and `http` are the quicker ones where HTTP is the
    work. Exits 78, saying what to change, where settings are invalid or the port cannot be had.
    """
    settings = load(settings_type, needs_secrets=True)
    configure_logging(name, settings.model_service_log_level)
    for variable, reason in secret_settings.doubtful(settings.secrets_in_use()):
        log.warning(Event.SECRET_IS_WEAK, variable=variable, reason=reason)
    listener = _listen(settings.listen_host, getattr(settings, port_variable.lower()), port_variable)
    app = create_app(settings)
    _spare_collections()
    config = uvicorn.Config(
        app,
        loop=loop,
        http=http,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_S,
    )
    _Server(config, None if stopping is None else partial(stopping, app)).run(sockets=[listener])


def _spare_collections() -> None:
    """What is there now is never searched for garbage, what comes later less often.

    A collection of all that was imported stops a service for 70 ms, several times in ten seconds under load.
    """
    gc.freeze()
    _, *older = gc.get_threshold()
    gc.set_threshold(YOUNG_OBJECTS, *older)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        async with Watchdog():
            await super().serve(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._stopping is not None:
            self._stopping()
        await super().shutdown(sockets)


async def _live(lifespan: AbstractAsyncContextManager[None], receive: Receive, send: Send) -> None:
    await receive()
    async with lifespan:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _listen(host: str, port: int, port_variable: str) -> socket.socket:
    # The protocol by name: asyncio sends at once (TCP_NODELAY) on no other socket, and a client that waits
    # for the end of a small answer waits 40 ms.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        in_use = error.errno == errno.EADDRINUSE
        why = "is in use by another process" if in_use else f"cannot be used: {error.strerror}"
        sys.stderr.write(f"{port_variable}: {host}:{port} {why}; set {port_variable} to a free port\n")
        raise SystemExit(EXIT_BAD_CONFIGURATION) from error
    return listener
