"""The trace id of a request: from X-Trace-ID or made here, bound meanwhile, sent back the same way."""

from litestar.datastructures import MutableScopeHeaders
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from common import tracing

HEADER = "X-Trace-ID"


def traced(app: ASGIApp) -> ASGIApp:
    """`app` with every log line, message and answer of a request under its trace id."""

    async def bound(scope: Scope, receive: Receive, send: Send) -> None:
        trace_id = tracing.accepted(MutableScopeHeaders(scope).get(HEADER))

        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableScopeHeaders.from_message(message)[HEADER] = trace_id
            await send(message)

        with tracing.bound(trace_id):
            await app(scope, receive, send_traced)

    return bound
