"""Who may ask: deny by default. Only what is named as open answers without the key, known route or not."""

import hmac
from collections.abc import Collection

import msgspec
import structlog
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.events import Event

log = structlog.get_logger(__name__)

HEADER = "X-API-Key"

_BODY = msgspec.json.encode(problems.problem(401, f"{HEADER} is missing or wrong"))


def keyed(app: ASGIApp, key: str, *, open_paths: Collection[str]) -> ASGIApp:
    """`app` for requests with `key` and for `open_paths`, exactly these; the rest get one and the same 401.

    A missing and a wrong key are not told apart: neither by the body nor by the time that it takes.
    """
    expected = key.encode()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in open_paths or hmac.compare_digest(_given(scope), expected):
            await app(scope, receive, send)
            return
        client = scope["client"]
        log.warning(Event.KEY_REFUSED, path=scope["path"], client=client[0] if client else None)
        refusal = ASGIResponse(
            body=_BODY,
            status_code=401,
            media_type=problems.MEDIA_TYPE,
            headers={"WWW-Authenticate": f'ApiKey realm="model-service", header="{HEADER}"'},
        )
        await refusal(scope, receive, send)

    return guarded


def _given(scope: Scope) -> bytes:
    given = [value for name, value in scope["headers"] if name == b"x-api-key"]
    return given[0] if len(given) == 1 else b""
