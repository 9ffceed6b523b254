"""Real servers for every test that asks: one PostgreSQL and one RabbitMQ per run, fresh contents per test."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import settings

from common.core.exits.rules import levels
from sandbox.blocking import blocking
from sandbox.postgres import WHEEL_MAJOR
from sandbox.servers import FLOTILLA, Servers, private_servers

_TEMPLATE = "flotilla_template"
_RUN = secrets.token_hex(4)
_number = count()

# No example fails for the time that it takes: machines are busy.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure() -> None:
    """Ctrl-C works for whatever the tests start, which has a key for each neighbour."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A service starts with no empty key; the simulated neighbours expect this one where nothing else is said.
    for neighbour in ("FEATURE_SERVICE", "POSITION_MANAGER", "WS_GATEWAY"):
        os.environ.setdefault(f"{neighbour}_API_KEY", "sandbox")


@pytest.fixture(autouse=True)
def forgotten_levels() -> None:
    """Every test works out the levels of its positions itself."""
    levels.cache_clear()


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Iterator[Servers]:
    """The servers of this run; TEST_DATABASE_URL and TEST_RABBITMQ_URL replace the private ones."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def report(line: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"\nflotilla: {line}\n")

    with private_servers(
        FLOTILLA.parent / os.environ.get("FLOTILLA_TEST_HOME", ".flotilla/test-servers"),
        postgres_major=int(os.environ.get("FLOTILLA_POSTGRES_MAJOR", WHEEL_MAJOR)),
        database_url=os.environ.get("TEST_DATABASE_URL"),
        rabbitmq_url=os.environ.get("TEST_RABBITMQ_URL"),
        report=report,
    ) as running:
        if running.postgres is not None:
            # A database per test is mostly waiting for the disk; no test cuts the power, and a killed
            # server loses nothing by this.
            _admin(running, "ALTER SYSTEM SET fsync = off")
            _admin(running, "SELECT pg_reload_conf()")
        yield running


@pytest.fixture(scope="session")
def migrated_template(servers: Servers) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to."""
    _admin(servers, f'DROP DATABASE IF EXISTS "{_TEMPLATE}" WITH (FORCE)')
    _admin(servers, f'CREATE DATABASE "{_TEMPLATE}"')
    environment = {**os.environ, "DATABASE_URL": _url(servers, _TEMPLATE)}
    upgrade = [sys.executable, "-m", "migrations", "upgrade"]
    done = subprocess.run(upgrade, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"migrations failed: {done.stderr or done.stdout}"
    yield _TEMPLATE
    _admin(servers, f'DROP DATABASE IF EXISTS "{_TEMPLATE}" WITH (FORCE)')


@pytest.fixture
async def database_url(servers: Servers, migrated_template: str) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    name = _name()
    await _execute(servers, f'CREATE DATABASE "{name}" TEMPLATE "{migrated_template}" STRATEGY file_copy')
    yield _url(servers, name)
    await _execute(servers, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def empty_database_url(servers: Servers) -> AsyncIterator[str]:
    """A database of the test's own, without a single table."""
    name = _name()
    await _execute(servers, f'CREATE DATABASE "{name}"')
    yield _url(servers, name)
    await _execute(servers, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def amqp_url(servers: Servers) -> Iterator[str]:
    """A virtual host of the test's own; with TEST_RABBITMQ_URL that broker, as it is."""
    with _virtual_host(servers) as url:
        yield url


@pytest.fixture(scope="module")
def shared_empty_database_url(servers: Servers) -> Iterator[str]:
    """A database without a single table, of the tests of one module."""
    name = _name()
    _admin(servers, f'CREATE DATABASE "{name}"')
    yield _url(servers, name)
    _admin(servers, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def shared_amqp_url(servers: Servers) -> Iterator[str]:
    """A virtual host of the tests of one module."""
    with _virtual_host(servers) as url:
        yield url


@contextmanager
def _virtual_host(servers: Servers) -> Iterator[str]:
    if servers.rabbitmq is None:
        yield servers.rabbitmq_url
        return
    name = _name()
    yield servers.rabbitmq.add_vhost(name)
    servers.rabbitmq.delete_vhost(name)


def _name() -> str:
    return f"test_{_RUN}_{next(_number)}"


def _url(servers: Servers, database: str) -> str:
    return urlsplit(servers.database_url)._replace(path=f"/{database}").geturl()


def _admin(servers: Servers, statement: str) -> None:
    blocking(_execute(servers, statement))


async def _execute(servers: Servers, statement: str) -> None:
    connection = await asyncpg.connect(servers.database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
