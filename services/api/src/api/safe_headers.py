"""What every answer tells a browser: guess no type, show it in no frame, keep nothing, send no referrer.

There is no CORS header on purpose: a page from elsewhere may read nothing, with or without a key.
"""

from collections.abc import Mapping

from litestar.datastructures import MutableScopeHeaders
from litestar.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer, where its route does not say otherwise."""


def safe(app: ASGIApp) -> ASGIApp:
    """`app` whose every answer carries HEADERS, refusals and errors included."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = MutableScopeHeaders.from_message(message)
                for name, value in HEADERS.items():
                    said.setdefault(name, value)
            await send(message)

        await app(scope, receive, send_safe)

    return answered
