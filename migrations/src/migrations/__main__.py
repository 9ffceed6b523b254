"""`python -m migrations upgrade [REV] | downgrade REV | current | check`: a job that runs once and ends.

Reads DATABASE_URL, or the POSTGRES_ variables. Exit code 0: done; 1: the database could not be reached or
changed, or `check` found it behind or different; 78: settings. Whatever fails says so in one line.
"""

import argparse
import asyncio
import sys

from alembic.util import CommandError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from common import secret_settings
from common.database import create_engine
from common.settings import EXIT_BAD_CONFIGURATION, DatabaseSettings, load
from migrations import history

_STATEMENT_TIMEOUT_MS = 3_600_000


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns the exit code."""
    arguments = _parser().parse_args(argv)
    settings = load(DatabaseSettings)
    if wrong := _wrong(settings):
        return _fail(wrong, EXIT_BAD_CONFIGURATION)
    try:
        engine = create_engine(
            settings.model_copy(update={"database_statement_timeout_ms": _STATEMENT_TIMEOUT_MS}),
            application="migrations",
        )
    except (ArgumentError, ValueError):
        return _fail(
            "DATABASE_URL cannot be read: write postgresql://user:password@host:port/name, "
            "with special characters percent-encoded",
            EXIT_BAD_CONFIGURATION,
        )
    try:
        return asyncio.run(_run(engine, arguments))
    except CommandError as error:
        return _fail(str(error))
    except DBAPIError as error:
        return _fail(_explained(error, settings))
    except OSError as error:
        reason, variables = str(error) or "no answer", _names(settings, "host", "port")
        return _fail(f"{_place(settings)} not reachable ({reason}): start it, or correct {variables}")


async def _run(engine: AsyncEngine, arguments: argparse.Namespace) -> int:
    try:
        match arguments.command:
            case "upgrade":
                return _moved(await history.upgrade(engine, arguments.revision))
            case "downgrade":
                return _moved(await history.downgrade(engine, arguments.revision))
            case "current":
                return _say(await history.current(engine) or "no revision")
            case _:
                return await _check(engine)
    finally:
        await engine.dispose()


async def _check(engine: AsyncEngine) -> int:
    current, head = await history.current(engine), history.head()
    if current != head:
        return _fail(
            f"the database stands at {current or 'no revision'}, this release needs {head}: run upgrade"
        )
    differences = await history.drift(engine)
    for line in differences:
        _fail(line)
    return 1 if differences else _say(f"{head}, as this release needs it")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m migrations", description="The fleet's schema history.")
    commands = parser.add_subparsers(dest="command", required=True)
    upgrade = commands.add_parser("upgrade", help="bring the database to a revision, head by default")
    upgrade.add_argument("revision", nargs="?", default="head")
    downgrade = commands.add_parser("downgrade", help="back to a revision; base removes all that is ours")
    downgrade.add_argument("revision")
    commands.add_parser("current", help="print the database's revision")
    commands.add_parser("check", help="fail unless the database is what this release needs")
    return parser


def _wrong(settings: DatabaseSettings) -> str:
    if unset := _unset(settings):
        return f"{', '.join(unset)} not set: set DATABASE_URL instead, or these"
    return "; ".join(secret_settings.refused(settings.secrets_in_use()))


def _unset(settings: DatabaseSettings) -> list[str]:
    # a default here would migrate a database that nobody named
    if settings.database_url:
        return []
    needed = ("postgres_host", "postgres_db", "postgres_user")
    return [name.upper() for name in needed if name not in settings.model_fields_set]


def _explained(error: DBAPIError, settings: DatabaseSettings) -> str:
    said = str(error.orig).strip().splitlines()[0]
    place = _place(settings)
    match getattr(error.orig, "sqlstate", None):
        case "28P01" | "28000":
            return f"{place} refused the login: correct {_names(settings, 'user', 'password')}"
        case "3D000":
            return f"{place} does not exist: create the database, or correct {_names(settings, 'db')}"
        case "42501":
            return f"{place}: {said}: let the role own our tables and create in its schema"
        case "55P03":
            return (
                f"{place}: another migration or a long transaction holds our tables: end it, then run again"
            )
        case "57P03":
            return f"{place} is starting or stopping: run again in a moment"
    return f"{place}: {said}"


def _place(settings: DatabaseSettings) -> str:
    url = make_url(settings.sqlalchemy_url())
    return f"database {url.database} at {url.host}:{url.port or 5432} as {url.username}"


def _names(settings: DatabaseSettings, *parts: str) -> str:
    return (
        "DATABASE_URL"
        if settings.database_url
        else " and ".join(f"POSTGRES_{part.upper()}" for part in parts)
    )


def _moved(step: history.Step) -> int:
    if step.before == step.after:
        return _say(f"{step.after or 'no revision'}: nothing to do")
    return _say(f"{step.before or 'no revision'} -> {step.after or 'no revision'}")


def _say(line: str) -> int:
    sys.stdout.write(f"{line}\n")
    return 0


def _fail(line: str, code: int = 1) -> int:
    sys.stderr.write(f"migrations: {line}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
