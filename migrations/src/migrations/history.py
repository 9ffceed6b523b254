"""The schema's history: where a database stands, how it moves, and how it differs from the code.

One run is one transaction under an advisory lock: jobs started together queue up, and a failure leaves
the database as it was.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, select
from sqlalchemy.ext.asyncio import AsyncEngine

from common import tables

_LOCK_KEY = 0x466C6F74696C6C61  # "Flotilla" in ASCII
_QUEUE_TIMEOUT = "10min"
_TABLE_TIMEOUT = "10s"


class Step(msgspec.Struct, frozen=True):
    """A move from one revision to another; None is a database without our history."""

    before: str | None
    after: str | None


def head() -> str:
    """The newest revision in this package."""
    revision = _scripts().get_current_head()
    assert revision is not None
    return revision


async def upgrade(engine: AsyncEngine, revision: str = "head") -> Step:
    """The database stands at `revision`; nothing happens if it is there already.

    Raises CommandError if the revision is unknown or the tables found are not the platform's.
    """
    return await _locked(engine, lambda connection: _move(connection, command.upgrade, revision))


async def downgrade(engine: AsyncEngine, revision: str) -> Step:
    """The database stands at the older `revision`; `base` also removes our version table.

    What newer revisions created is dropped with its rows; what the platform created stays.
    """
    return await _locked(engine, lambda connection: _move(connection, command.downgrade, revision))


async def current(engine: AsyncEngine) -> str | None:
    """The revision of the database, None without our history."""
    async with engine.connect() as connection:
        return await connection.run_sync(_current)


async def drift(engine: AsyncEngine) -> list[str]:
    """How the tables of the database differ from `tables.ours`, one line each; empty is right.

    What the platform added to an adopted table, or named in its own way, is no difference.
    """
    async with engine.connect() as connection:
        return await connection.run_sync(_drift)


async def _locked(engine: AsyncEngine, work: Callable[[Connection], Step]) -> Step:
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_QUEUE_TIMEOUT}'")
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
        # a reader that holds a table must not make every later reader queue up behind us
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_TABLE_TIMEOUT}'")
        return await connection.run_sync(work)


def _move(connection: Connection, move: Callable[[Config, str], None], revision: str) -> Step:
    before = _current(connection)
    if before and before not in {script.revision for script in _scripts().walk_revisions()}:
        raise CommandError(
            f"the database stands at {before}, this release knows only up to {head()}: use a newer one"
        )
    config = _config()
    config.attributes["connection"] = connection
    move(config, revision)
    after = _current(connection)
    if after is None:
        tables.schema_version.drop(connection, checkfirst=True)
    return Step(before, after)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table(tables.schema_version.name):
        return None
    return connection.scalar(select(tables.schema_version.c.version_num))


def _drift(connection: Connection) -> list[str]:
    context = MigrationContext.configure(
        connection, opts={"include_name": _is_ours, "compare_type": True, "compare_server_default": True}
    )
    found = compare_metadata(context, tables.ours)
    changes = [change for entry in found for change in (entry if isinstance(entry, list) else [entry])]
    return [_in_words(change) for change in changes if _matters(change)]


def _is_ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or name in tables.ours.tables


def _matters(change: tuple[Any, ...]) -> bool:
    what = change[0]
    if what.endswith("_table_comment"):
        return False
    return _table(change) not in tables.ADOPTED or what in {"add_table", "add_column", "modify_type"}


def _table(change: tuple[Any, ...]) -> str:
    match change:
        case ("add_table" | "remove_table", table):
            return str(table.name)
        case ("add_column" | "remove_column", _, name, _):
            return str(name)
        case (what, _, name, *_) if what.startswith("modify_"):
            return str(name)
        case (_, part, *_):
            return str(part.table.name)
    raise AssertionError(change)


def _in_words(change: tuple[Any, ...]) -> str:
    match change:
        case ("add_table" | "remove_table" as what, _):
            detail = ""
        case ("add_column" | "remove_column" as what, _, _, column):
            detail = f": {column.name}"
        case (what, _, _, column, _, found, expected) if what.startswith("modify_"):
            detail = f": {column} is {found!r}, expected {expected!r}"
        case (what, part, *_):
            detail = f": {part.name}"
    return f"{_table(change)}: {what.replace('_', ' ')}{detail}"


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
