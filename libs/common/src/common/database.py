"""The connection pool of a process, with every wait bounded."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from common.settings import DatabaseSettings

DATABASE_ERRORS = (SQLAlchemyError, OSError)
"""What a statement raises when the database does not answer, or not in time: a time-out is an OSError."""

ROWS_AT_ONCE = 50
"""Of a statement executed for many: a thousand at once hold up the event loop for a tenth of a second."""

_NOT_ANSWERING = ("08", "28", "3D", "40", "53", "55", "57")
"""Classes of SQLSTATE after which the same request may succeed: no connection, no login, no such database,
lost to another transaction, no resources, not ready, cancelled by an operator or a time-out."""
_READ_ONLY = "25006"
"""SQLSTATE of a write to a server that only reads: a standby, before somebody promotes it."""


def is_outage(error: Exception) -> bool:
    """Whether the same may succeed once the database answers again; False: what was asked is wrong."""
    if isinstance(error, DBAPIError):
        sqlstate = getattr(error.orig, "sqlstate", None) or ""
        is_away = sqlstate[:2] in _NOT_ANSWERING or sqlstate == _READ_ONLY
        return error.connection_invalidated or is_away
    # SQLAlchemy hands on what asyncpg raises while it connects as it is.
    return isinstance(error, (PoolTimeout, OSError))


def create_engine(settings: DatabaseSettings, *, application: str, is_pinged: bool = True) -> AsyncEngine:
    """A pool that connects lazily, discards stale connections and never waits without a limit.

    `application` names the process in pg_stat_activity. Sessions run in UTC. A connection that the server
    closed is never handed out; one that died silently only where not `is_pinged`, which spares every
    transaction three round trips.
    """
    tls = settings.database_tls()
    engine = create_async_engine(
        settings.sqlalchemy_url(),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=settings.database_acquire_timeout_seconds,
        pool_pre_ping=is_pinged,
        json_deserializer=msgspec.json.decode,
        connect_args={
            **({} if tls is None else {"ssl": tls}),
            "timeout": settings.database_acquire_timeout_seconds + 4,
            "command_timeout": settings.database_statement_timeout_ms / 1000 + 2,
            "server_settings": {
                "application_name": application,
                "timezone": "UTC",
                "statement_timeout": str(settings.database_statement_timeout_ms),
                "idle_in_transaction_session_timeout": str(settings.database_idle_in_transaction_timeout_ms),
            },
        },
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for questions that need not agree with each other: each statement by itself.

    Begin and end of a transaction are two round trips that a single question does without.
    """
    async with engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def store(connection: AsyncConnection, statement: Insert, rows: Iterable[Mapping[str, Any]]) -> None:
    """`statement` was executed for every row, some at a time: the event loop turns in between."""
    left = iter(rows)
    while together := list(islice(left, ROWS_AT_ONCE)):
        await connection.execute(statement, together)


def naive_utc(instant: datetime) -> datetime:
    """`instant` as the platform's TIMESTAMP columns hold it: UTC without saying so."""
    return instant.astimezone(UTC).replace(tzinfo=None)


# Raised here, it makes the pool try another connection.
def _refuse_closed(connection: Any, *_: object) -> None:
    if connection.driver_connection.is_closed():
        raise DisconnectionError
