"""The connection pool of a process, with every wait bounded."""

from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from common.settings import DatabaseSettings

DATABASE_ERRORS = (SQLAlchemyError, OSError)
"""What a statement raises when the database does not answer, or not in time: a time-out is an OSError."""


def create_engine(settings: DatabaseSettings, *, application: str) -> AsyncEngine:
    """A pool that connects lazily, discards stale connections and never waits without a limit.

    `application` names the process in pg_stat_activity. Sessions run in UTC.
    """
    return create_async_engine(
        settings.sqlalchemy_url(),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=settings.database_acquire_timeout_seconds,
        pool_pre_ping=True,
        connect_args={
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


def naive_utc(instant: datetime) -> datetime:
    """`instant` as the platform's TIMESTAMP columns hold it: UTC without saying so."""
    return instant.astimezone(UTC).replace(tzinfo=None)
