"""What was asked and what became of it: one log line a request, and the figures of api.metrics.

A line has the route's template and not the path, and nothing of query, headers or body: whatever a client
sends there by mistake, a key among it, stays out of the log.
"""

import time
from collections.abc import Collection

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from api.auth import address
from api.events import Event
from api.problems import CLIENT_LEFT

log = structlog.get_logger(__name__)

NO_ROUTE = "none"
"""Route of a request that was refused before any route, or that none answers."""

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


def observed(app: ASGIApp, *, quiet_paths: Collection[str]) -> ASGIApp:
    """`app` with every request logged and counted; those of `quiet_paths` are logged at DEBUG."""

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        status = CLIENT_LEFT

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        # The router strips what it mounts from the path that is in the scope.
        path = scope["path"]
        try:
            await app(scope, receive, send_seen)
        finally:
            _record(scope, status, time.perf_counter() - begun, is_quiet=path in quiet_paths)

    return watched


def _record(scope: Scope, status: int, duration_s: float, *, is_quiet: bool) -> None:
    given = str(scope.get("method", ""))
    method = given if given in _METHODS else "other"
    route = scope.get("path_template") or NO_ROUTE
    metrics.REQUESTS.labels(method, route, str(status)).inc()
    metrics.DURATIONS.labels(method, route).observe(duration_s)
    say = log.debug if is_quiet else log.info
    say(
        Event.REQUEST_ANSWERED,
        method=method,
        route=route,
        status=status,
        duration_ms=round(duration_s * 1000, 3),
        client=address(scope),
    )
