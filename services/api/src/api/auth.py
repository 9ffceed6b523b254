"""Who may ask: deny by default. Only what is named as open answers without a key, known route or not.

The key may do everything, the read-only key may look: a request that could change something is refused to it
before it reaches a route.
"""

import hmac
from collections.abc import Collection
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal

import msgspec
import structlog
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.attempts import Attempts
from api.events import Event

log = structlog.get_logger(__name__)

HEADER = "X-API-Key"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""What the read-only key may do: these change nothing."""

_WRONG = msgspec.json.encode(problems.problem(401, f"{HEADER} is missing or wrong"))
_TOO_MANY = msgspec.json.encode(
    problems.problem(
        429, f"too many requests with a missing or wrong {HEADER} from this address", code="too_many_attempts"
    )
)

Access = Literal["none", "read", "full"]


class Keys:
    """The keys that open the API: the key, the one before while clients change over, and one that reads."""

    def __init__(self, key: str, read_only: str | None, previous: str | None = None) -> None:
        self._key = _digest(key.encode())
        self._read_only = None if read_only is None else _digest(read_only.encode())
        self._previous = None if previous is None else _digest(previous.encode())

    def access(self, given: bytes) -> Access:
        """What `given` opens; that takes equally long for every key."""
        digest = _digest(given)
        is_key = hmac.compare_digest(digest, self._key)
        is_previous = hmac.compare_digest(digest, self._previous or self._key)
        is_read_only = hmac.compare_digest(digest, self._read_only or self._key)
        if is_key or is_previous:
            return "full"
        return "read" if is_read_only else "none"


def keyed(app: ASGIApp, keys: Keys, attempts: Attempts, *, open_paths: Collection[str]) -> ASGIApp:
    """`app` for requests with a key that allows them and for `open_paths`, exactly these.

    A missing and a wrong key are not told apart: neither by the body nor by the time that it takes. They get
    one and the same 401, and 429 where the address tries too often.
    """

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in open_paths:
            await app(scope, receive, send)
            return
        access = keys.access(_given(scope))
        if access == "none":
            await _refusal(scope, attempts)(scope, receive, send)
        elif access == "read" and scope.get("method") not in SAFE_METHODS:
            log.info(Event.COMMAND_REFUSED, path=scope["path"], client=address(scope))
            await problems.answer(403, "this key may only read", code="read_only")(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guarded


def address(scope: Scope) -> str:
    """Where the request came from; empty where the server does not know."""
    client = scope["client"]
    return client[0] if client else ""


def _refusal(scope: Scope, attempts: Attempts) -> ASGIResponse:
    client = address(scope)
    wait_s = attempts.count(client, datetime.now(UTC))
    if wait_s is None:
        log.warning(Event.KEY_REFUSED, path=scope["path"], client=client)
        challenge = {"WWW-Authenticate": f'ApiKey realm="model-service", header="{HEADER}"'}
        return _response(_WRONG, 401, challenge)
    return _response(_TOO_MANY, 429, {"Retry-After": str(wait_s)})


def _response(body: bytes, status: int, headers: dict[str, str]) -> ASGIResponse:
    return ASGIResponse(body=body, status_code=status, media_type=problems.MEDIA_TYPE, headers=headers)


def _given(scope: Scope) -> bytes:
    given = [value for name, value in scope["headers"] if name == b"x-api-key"]
    return given[0] if len(given) == 1 else b""


# Of one length, so that a comparison says nothing of the key's.
def _digest(key: bytes) -> bytes:
    return sha256(key).digest()
