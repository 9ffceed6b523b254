"""The HTTP client of a neighbour: one fixed host, its key, a bounded wait, and no redirects."""

import httpx
from pydantic import SecretStr


def http_client(
    base_url: str, api_key: SecretStr, *, timeout_s: float, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """One connection pool to the neighbour at `base_url`; whoever made it closes it."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers={"X-API-Key": api_key.get_secret_value()},
        timeout=timeout_s,
        follow_redirects=False,
        transport=transport,
    )
