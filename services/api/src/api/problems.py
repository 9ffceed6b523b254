"""Errors over HTTP: each is application/problem+json (RFC 9457) with a code, and none shows internals."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.response.base import ASGIResponse
from litestar.types import (
    ASGIApp,
    ExceptionHandlersMap,
    Message,
    Receive,
    ReceiveMessage,
    Scope,
    Send,
)
from sqlalchemy.exc import SQLAlchemyError

from api.core.versions import Objection
from api.events import Event
from common import tracing
from common.database import is_outage
from common.errors import Conflict, NotFound, TryAgain, Unusable

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

CODES: Mapping[int, str] = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "body_too_large",
    422: "unprocessable",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}
"""The code of a status, where an error has none of its own."""

MEANINGS: Mapping[int, str] = {
    400: "A parameter or the body is not valid; `errors` names each.",
    401: "X-API-Key is missing or wrong.",
    403: "The read-only key changes nothing.",
    404: "What was named does not exist.",
    409: "It is in the way of something else, or needs `force`.",
    413: "The body is larger than 256 KiB.",
    422: "The request is valid, but what it leaves out cannot be filled in.",
    429: "Too much at once, of wrong keys or of what the route does; Retry-After says when to ask again.",
    500: "A bug; the log has it under the trace id.",
    503: "The database does not answer; try again.",
}
"""What a status means wherever it is documented."""

LONGEST_SENTENCE = 1000
"""Of an answer, in characters."""

CLIENT_LEFT = 499
"""Status, in log and metrics alone, of a request whose client left before there was an answer."""

_FAILED = "the request failed; the log says why, under the trace id"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a request."""

    field: str
    """The parameter, or where in the body."""
    message: str
    """What it has to be."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What every error answers."""

    type: str = "about:blank"
    """`about:blank`: the status says the kind."""
    title: str
    """The status' name."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong with this request, for people."""
    code: str
    """For programs; stays the same when the words change."""
    trace_id: str | msgspec.UnsetType = msgspec.UNSET
    """Finds the request in the logs; a 401 has it in X-Trace-ID alone, so that all of them are equal."""
    errors: list[Fault] | msgspec.UnsetType = msgspec.UNSET
    """Every parameter or field that is wrong; absent where none is to blame."""


class ClientLeft(Exception):
    """The client hung up before its request was whole: there is nobody to answer."""


class Refused(HTTPException):
    """A rule of ours stands against the request (409)."""

    status_code = 409

    def __init__(self, objection: Objection) -> None:
        super().__init__(objection.sentence, extra={"code": objection.code})


def problem(status: int, detail: str, *, code: str | None = None) -> Problem:
    """The problem of a status, without trace id."""
    return Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=_shortened(detail),
        code=code or CODES.get(status, "error"),
    )


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """The errors of a route for its OpenAPI description: `statuses`, and those that every route has."""
    return {
        status: ResponseSpec(
            Problem, description=MEANINGS[status], media_type=MEDIA_TYPE, generate_examples=False
        )
        for status in sorted({400, 401, 429, 500, 503, *statuses})
    }


def answer(status: int, detail: str, *, code: str | None = None) -> ASGIResponse:
    """The problem under the bound trace id, for what answers outside of the routes."""
    return ASGIResponse(
        body=msgspec.json.encode(_traced(problem(status, detail, code=code))),
        status_code=status,
        media_type=MEDIA_TYPE,
    )


def guarded(app: ASGIApp) -> ASGIApp:
    """`app`, whose bugs outside of the routes are answered like those within."""

    async def caught(scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def receive_whole() -> ReceiveMessage:
            message = await receive()
            if message["type"] == "http.disconnect" and not begun:
                raise ClientLeft
            return message

        async def send_seen(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await app(scope, receive_whole, send_seen)
        except Exception as error:
            _log_failure(scope, error)
            if begun:
                raise
            await answer(500, _FAILED)(scope, receive, send)

    return caught


def handlers() -> ExceptionHandlersMap:
    """What becomes of each class of error."""
    return {
        HTTPException: _refused,
        ClientLeft: lambda _, __: Response(None, status_code=CLIENT_LEFT),
        NotFound: _answering(404),
        Conflict: _answering(409),
        Unusable: _answering(422),
        TryAgain: _answering(503),
        # The JSON decoder's; no code of ours recurses, and what it reads as text is text.
        UnicodeDecodeError: lambda _, __: _response(problem(400, "the body is not UTF-8")),
        RecursionError: lambda _, __: _response(problem(400, "the body is nested too deeply")),
        SQLAlchemyError: _database_failed,
        OSError: _database_failed,
        Exception: _failed,
    }


def _refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    if error.status_code >= 500:
        return _failed(request, error)
    extra = error.extra
    faults = _faults(extra) if isinstance(extra, list) else None
    detail = "; ".join(f"{fault.field}: {fault.message}" for fault in faults) if faults else error.detail
    code = extra.get("code") if isinstance(extra, dict) else None
    return _response(problem(error.status_code, detail, code=code), faults, headers=error.headers)


def _faults(extra: list[Any]) -> list[Fault]:
    return [
        Fault(field=_shortened(str(each.get("key", "body"))), message=_shortened(str(each["message"])))
        for each in extra
    ]


# A sentence may quote what it refuses, which may be as long as a body.
def _shortened(sentence: str) -> str:
    return sentence if len(sentence) <= LONGEST_SENTENCE else f"{sentence[: LONGEST_SENTENCE - 1]}…"


def _answering(status: int) -> Callable[[Request[Any, Any, Any], Exception], Response[Problem]]:
    def answer(_: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
        return _response(problem(status, str(error)))

    return answer


def _database_failed(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    if not is_outage(error):
        return _failed(request, error)
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    log.warning(Event.DATABASE_UNAVAILABLE, path=request.url.path, reason=reason)
    return _response(problem(503, "the database did not answer in time; try again"))


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    _log_failure(request.scope, error)
    return _response(problem(500, _FAILED))


def _log_failure(scope: Scope, error: Exception) -> None:
    log.error(Event.REQUEST_FAILED, method=scope.get("method"), path=scope["path"], exc_info=error)


def _response(
    found: Problem, faults: list[Fault] | None = None, *, headers: Mapping[str, str] | None = None
) -> Response[Problem]:
    said = _traced(found, faults)
    return Response(said, status_code=found.status, media_type=MEDIA_TYPE, headers=headers)


def _traced(found: Problem, faults: list[Fault] | None = None) -> Problem:
    return msgspec.structs.replace(found, trace_id=tracing.current(), errors=faults or msgspec.UNSET)
