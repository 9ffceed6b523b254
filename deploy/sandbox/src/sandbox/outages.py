"""Outages: when is a server away for a while, and what waits until it is back?"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import structlog
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

RETRY_S = 0.25
TIMEOUT_S = 5.0

DATABASE_IS_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a query sent at the moment its backend is terminated
)
BROKER_IS_AWAY = (OSError, TimeoutError, AMQPError, ChannelInvalidStateError)

T = TypeVar("T")

log = structlog.get_logger(__name__)


async def until_database_answers(action: Callable[[], Awaitable[T]]) -> T:
    """The result of `action`, tried again for as long as the database is away."""
    while True:
        try:
            return await action()
        except DATABASE_IS_AWAY as error:
            log.warning("database is away", error=repr(error))
            await asyncio.sleep(RETRY_S)
