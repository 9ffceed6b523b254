"""The event stream over HTTP: server-sent events, for as long as the client stays."""

import asyncio

import structlog
from litestar import get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp, Receive, Scope, Send

from api import metrics
from api.auth import address
from api.broadcast import Broadcast, Listener
from api.events import Event
from api.problems import documented

log = structlog.get_logger(__name__)

MEDIA_TYPE = "text/event-stream"

_HEADERS = [
    (b"content-type", f"{MEDIA_TYPE}; charset=utf-8".encode()),
    # Not kept, and not held back by a proxy.
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_STREAM = ResponseSpec(str, description="The stream.", media_type=MEDIA_TYPE, generate_examples=False)


@get(
    "/events",
    operation_id="HearEvents",
    summary="What happens, as it happens",
    responses={200: _STREAM, **documented()},
)
async def hear_events(broadcast: NamedDependency[Broadcast]) -> ASGIApp:
    """Server-sent events: `hello` first, then `signal`, `exit`, `skip`, `activation`, `training`, `state` and
    `alert`, each with its JSON as `data`, within about a second of its commit.

    What happened while nobody was connected is not told later: after a (re)connect read by REST how things
    stand, once `hello` came. A comment comes every 15 seconds while nothing happens. The stream ends when the
    API stops, or when the client reads too slowly.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        with broadcast.joined() as listener:
            if await _keeps_up(listener, receive, send):
                return
        metrics.LISTENERS_DROPPED.inc()
        log.warning(Event.LISTENER_DROPPED, client=address(scope))

    return answer


# False: it did not, and its answer stays unfinished, so that the server closes the connection.
async def _keeps_up(listener: Listener, receive: Receive, send: Send) -> bool:
    work = (_write(listener, send), _left(receive), listener.dropped.wait())
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return not listener.dropped.is_set()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _write(listener: Listener, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    async for chunk in listener.chunks():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
