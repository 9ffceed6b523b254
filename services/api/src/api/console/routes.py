"""The console's page, style, modules and plotly's script: open to everybody, for they hold no data.

Every figure that the page shows comes from /api/v1, with the key that the operator types in. The content
security policy lets the page load its own files and talk to its own server, nothing else.
"""

import asyncio
import gzip
import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

_MODULES = (
    "alerts.js",
    "api.js",
    "charts.js",
    "decisions.js",
    "dialogs.js",
    "dom.js",
    "fleet.js",
    "format.js",
    "keyboard.js",
    "letters.js",
    "main.js",
    "market.js",
    "overview.js",
    "performance.js",
    "positions.js",
    "reasons.js",
    "sections.js",
    "skips.js",
    "stream.js",
    "theme.js",
    "training.js",
    "versions.js",
)
_PLOTLY = "/console/plotly.js"

PATHS = frozenset(
    {"/console", "/console/console.css", "/console/icon.svg", _PLOTLY}
    | {f"/console/{name}" for name in _MODULES}
)
"""What answers without the key, exactly these."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere, no form that could carry the key into an address."""

_SAFE = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_ASK_AGAIN = "no-cache"
_FOR_A_YEAR = "public, max-age=31536000, immutable"
_PLOTLY_VERSION = "PLOTLY_VERSION"


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the console, as it is sent."""

    body: bytes
    packed: bytes
    """The same, gzip."""
    media_type: str
    etag: str
    cache_control: str


def routes() -> list[HTTPRouteHandler]:
    """A route for each of PATHS, and for nothing else."""
    return [_route(path) for path in sorted(PATHS)]


def _route(path: str) -> HTTPRouteHandler:
    return get(path, include_in_schema=False)(_answering(path))


def _answering(path: str) -> Callable[[Request[Any, Any, Any]], Awaitable[Response[bytes]]]:
    async def answer(request: Request[Any, Any, Any]) -> Response[bytes]:
        file = await asyncio.to_thread(_file, path)
        headers = {**_SAFE, "ETag": file.etag, "Cache-Control": file.cache_control, "Vary": "Accept-Encoding"}
        if request.headers.get("If-None-Match") == file.etag:
            return Response(b"", status_code=304, headers=headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(file.packed, media_type=file.media_type, headers=headers)
        return Response(file.body, media_type=file.media_type, headers=headers)

    return answer


@cache
def _file(path: str) -> File:
    if path == _PLOTLY:
        body = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
        return _packed(body, "js", _FOR_A_YEAR)
    name = "page.html" if path == "/console" else path.removeprefix("/console/")
    body = (files("api.console") / name).read_bytes()
    # The script's address changes with its version, so that nobody keeps an old one for a year.
    body = body.replace(_PLOTLY_VERSION.encode(), version("plotly").encode())
    return _packed(body, name.rpartition(".")[2], _ASK_AGAIN)


def _packed(body: bytes, kind: str, cache_control: str) -> File:
    return File(
        body=body,
        packed=gzip.compress(body, compresslevel=6, mtime=0),
        media_type=_TYPES[kind],
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        cache_control=cache_control,
    )
