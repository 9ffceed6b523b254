"""Private servers of a benchmark run, and a database and a virtual host of each measurement's own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import msgspec
import structlog

from sandbox.blocking import blocking
from sandbox.servers import FLOTILLA, Servers, private_servers

KEYS = {f"{name}_API_KEY": uuid4().hex for name in ("FEATURE_SERVICE", "POSITION_MANAGER", "WS_GATEWAY")}
"""Services start with no empty secret; nobody is asked for these."""
HOME = FLOTILLA.parent / os.environ.get("FLOTILLA_BENCH_HOME", ".flotilla/bench-servers")
"""Where the servers keep what they store; synchronous_commit and fsync stay on."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where one measurement runs: a migrated database and a virtual host, both empty."""

    database_url: str
    amqp_url: str


@contextmanager
def bench_servers() -> Iterator[Servers]:
    """A PostgreSQL and a RabbitMQ that nobody else uses; stopped after the block."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with private_servers(HOME, report=lambda line: print(line, file=sys.stderr)) as servers:
        yield servers


@contextmanager
def place(servers: Servers) -> Iterator[Place]:
    """A place of its own on the servers, gone after the block."""
    assert servers.rabbitmq is not None
    name = f"bench_{uuid4().hex[:8]}"
    blocking(_execute(servers, f'CREATE DATABASE "{name}"'))
    database_url = urlsplit(servers.database_url)._replace(path=f"/{name}").geturl()
    try:
        subprocess.run(
            [sys.executable, "-m", "migrations", "upgrade"],
            env={**os.environ, "DATABASE_URL": database_url},
            check=True,
            capture_output=True,
        )
        yield Place(database_url=database_url, amqp_url=servers.rabbitmq.add_vhost(name))
    finally:
        servers.rabbitmq.delete_vhost(name)
        blocking(_execute(servers, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


async def _execute(servers: Servers, statement: str) -> None:
    connection = await asyncpg.connect(servers.database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
