"""The HTTP client of a neighbour: one fixed host, its key, no redirects, bounded answers.

TRAP: httpx begins its time-out anew with every byte, and unpacks a compressed answer without a limit.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
from pydantic import SecretStr

from common import tracing
from common.errors import TryAgain, Unusable
from common.tls import trusting, trusting_nobody


def http_client(
    base_url: str,
    api_key: SecretStr,
    *,
    timeout_s: float,
    ca_file: Path | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """One connection pool to the neighbour at `base_url`; whoever made it closes it.

    Over https its certificate is verified by the authorities in `ca_file`, else by those of the machine.
    """
    return httpx.AsyncClient(
        base_url=base_url,
        headers={"X-API-Key": api_key.get_secret_value(), "Accept-Encoding": "identity"},
        timeout=timeout_s,
        follow_redirects=False,
        verify=trusting(ca_file) if base_url.startswith("https:") else trusting_nobody(),
        transport=transport,
    )


async def ask(
    http: httpx.AsyncClient,
    neighbour: str,
    method: str,
    path: str,
    *,
    timeout_s: float,
    max_bytes: int,
    params: Mapping[str, str] | None = None,
    json: object = None,
) -> httpx.Response:
    """The whole answer, whatever its status.

    Raises TryAgain where it has not come to its end after `timeout_s`, Unusable where it is longer than
    `max_bytes`, or packed though it was asked for plain. `neighbour` is how the error names it.
    """
    headers = {"X-Trace-ID": tracing.current()}
    try:
        async with (
            asyncio.timeout(timeout_s),
            http.stream(method, path, params=params, json=json, headers=headers) as answer,
        ):
            if is_packed(answer):
                raise Unusable(f"{neighbour} answers packed as {answer.headers['content-encoding'][:100]}")
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    raise Unusable(f"{neighbour} answers more than {max_bytes} bytes")
    except (httpx.HTTPError, TimeoutError) as error:
        raise TryAgain(f"{neighbour} does not answer: {type(error).__name__}: {error}") from error
    return httpx.Response(answer.status_code, headers=answer.headers, content=bytes(body))


def is_packed(answer: httpx.Response) -> bool:
    """Its body is compressed: nobody asked for that, and its size says nothing."""
    coding: str = answer.headers.get("content-encoding", "identity")
    return coding.lower() != "identity"
