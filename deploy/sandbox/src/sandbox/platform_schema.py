"""The tables of the simulated neighbours: created where absent, left alone where the platform has them."""

from importlib.resources import files
from typing import Protocol


class Connection(Protocol):
    """The one thing needed of a database connection."""

    async def execute(self, query: str, /) -> object:
        """Run a script of several statements."""
        ...


async def create_platform_tables(connection: Connection) -> None:
    """Every neighbour's table exists afterwards; safe to call again and from several processes at once."""
    script = files("sandbox").joinpath("platform_schema.sql").read_text("utf-8")
    # CREATE ... IF NOT EXISTS of two sessions at once can still collide in the catalogue: take turns.
    # One script is one transaction, whose end gives the lock back.
    await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK}); {script}")


_LOCK = 4_601_003
