"""The simulated ws-gateway, as far as the fleet calls it: the account's balances, now."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Litestar, Response, get, post
from litestar.di import NamedDependency, Provide

WriteBalances = Callable[[], Awaitable[bool]]
"""Writes a fresh balance row; False when that is not possible now."""


def create_app(write_balances: WriteBalances) -> Litestar:
    """The REST surface."""
    return Litestar(
        [health, sync_balances],
        dependencies={"write_balances": Provide(lambda: write_balances, sync_to_thread=False)},
        openapi_config=None,
        logging_config=None,
    )


@get("/health")
async def health() -> dict[str, str]:
    """Answers as long as the process lives."""
    return {"status": "healthy", "service": "ws-gateway"}


@post("/api/v1/balances/sync")
async def sync_balances(write_balances: NamedDependency[WriteBalances]) -> Response[dict[str, Any]]:
    """`account_balances` has a fresh row afterwards."""
    if await write_balances():
        return Response({"status": "success"}, status_code=200)
    return Response({"detail": "Failed to sync balances"}, status_code=503)
