"""A demo's own place: every run is a new paper account, which begins flat and without a model.

On private servers a run gets a database and a virtual host of its own; on servers that were given it shares
them and only its strategy is new. Earlier runs stay to be looked at, the oldest are removed.
"""

import asyncio
import os
import shutil
import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import msgspec

from sandbox.errors import SetupError
from sandbox.platform_schema import create_platform_tables
from sandbox.servers import Servers

KEPT_RUNS = 3
"""Runs whose databases and files stay, the present one included."""
_PREFIX = "paper_"


class PaperRun(msgspec.Struct, frozen=True, kw_only=True):
    """Where one run keeps everything."""

    strategy_id: str
    database_url: str
    rabbitmq_url: str
    directory: Path
    """Models and datasets."""


async def begin(servers: Servers, runs: Path, now: datetime) -> PaperRun:
    """The place of a run that starts `now` exists, empty; runs before the last KEPT_RUNS are gone."""
    name = f"{_PREFIX}{now:%Y%m%d_%H%M%S}"
    directory = await asyncio.to_thread(_fresh_directory, runs, name)
    database_url, rabbitmq_url = servers.database_url, servers.rabbitmq_url
    if servers.postgres is not None:
        database_url = await _fresh_database(servers.database_url, name)
    if servers.rabbitmq is not None:
        rabbitmq_url = servers.rabbitmq.add_vhost(name)
    return PaperRun(
        strategy_id=name, database_url=database_url, rabbitmq_url=rabbitmq_url, directory=directory
    )


async def prepare(run: PaperRun) -> None:
    """The run's database carries the platform's tables and our schema. Raises SetupError."""
    connection = await asyncpg.connect(run.database_url)
    try:
        await create_platform_tables(connection)
    finally:
        await connection.close()
    job = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "migrations",
        "upgrade",
        env={**os.environ, "DATABASE_URL": run.database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await job.communicate()
    if job.returncode:
        raise SetupError(f"the database could not be migrated:\n{said.decode(errors='replace')}")


def _fresh_directory(runs: Path, name: str) -> Path:
    directory = runs / name
    directory.mkdir(parents=True)
    for old in sorted(runs.glob(f"{_PREFIX}*"))[:-KEPT_RUNS]:
        shutil.rmtree(old)
    return directory


async def _fresh_database(url: str, name: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT datname FROM pg_database WHERE starts_with(datname, $1) ORDER BY datname DESC", _PREFIX
        )
        for row in rows[KEPT_RUNS - 1 :]:
            await connection.execute(f'DROP DATABASE "{row["datname"]}" WITH (FORCE)')
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    return urlsplit(url)._replace(path=f"/{name}").geturl()
