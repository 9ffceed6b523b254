"""docs/platform.md, step by step as it stands there, on servers that carry the platform already."""

import asyncio
import json
import os
import re
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.migrations import platform_database
from tests.page_shell import PATIENCE_S, shell, steps

from sandbox.platform_schema import create_platform_tables
from sandbox.ports import free_port
from sandbox.postgres import WHEEL_MAJOR, postgres_binaries
from sandbox.servers import FLOTILLA

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "platform.md"
SERVICES = ("inference", "trainer", "exit_strategy", "api")
PORTS = ("INFERENCE_PORT", "TRAINER_PORT", "EXIT_STRATEGY_PORT", "MODEL_SERVICE_PORT")
KEY = "the-neighbours-own-key-of-the-platform"
CONTROL = """#!{python}
import json, sys
with open({told!r}, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
"""
"""Stands for rabbitmqctl, which reaches no node of another's home: what it is told is done by the test."""


@asynccontextmanager
async def neighbours(database_url, rabbitmq_url, ports, log):
    """The platform's services, simulated, with a key of their own."""
    told = {
        "DATABASE_URL": database_url,
        "RABBITMQ_URL": rabbitmq_url,
        "SYMBOLS": "BTCUSDT",
        "FEATURE_SERVICE_API_KEY": KEY,
        "POSITION_MANAGER_API_KEY": KEY,
        "WS_GATEWAY_PORT": str(free_port()),
        **ports,
    }
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sandbox", env={**os.environ, **told}, stdout=file, stderr=file
        )
    try:
        yield
        assert process.returncode is None, log.read_text()[-2000:]
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@pytest.fixture
async def platform(empty_database_url, servers):
    """A connection to a database that carries the platform; the page's logins are gone afterwards."""
    connection = await asyncpg.connect(empty_database_url)
    check = platform_database.RANGE_CHECKS["unnamed"]
    await connection.execute(platform_database.OURS.replace("{range_check}", check))
    await create_platform_tables(connection)
    yield connection
    await _forget(connection, servers)
    await connection.close()


async def _forget(connection, servers):
    for service in SERVICES:
        servers.rabbitmq.delete_user(service)
        login = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", f"{service}_login")
        if login:
            await connection.execute(f"DROP OWNED BY {service}_login; DROP ROLE {service}_login")


def _environment(directory, servers, database_url, ports):
    database, broker = urlsplit(database_url), urlsplit(servers.rabbitmq_url)
    control = directory / "bin" / "rabbitmqctl"
    control.parent.mkdir()
    control.write_text(CONTROL.format(python=sys.executable, told=str(directory / "told")))
    control.chmod(0o755)
    binaries = postgres_binaries(WHEEL_MAJOR, FLOTILLA / "packages", lambda _: None)
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return {
        **inherited,
        "PATH": os.pathsep.join([str(control.parent), str(binaries), os.environ["PATH"]]),
        "PGHOST": database.hostname,
        "PGPORT": str(database.port),
        "PGUSER": database.username,
        "PGPASSWORD": database.password,
        "PGDATABASE": database.path[1:],
        "RABBITMQ_HOST": broker.hostname,
        "RABBITMQ_PORT": str(broker.port),
        "FEATURE_SERVICE_HOST": "127.0.0.1",
        "POSITION_MANAGER_HOST": "127.0.0.1",
        "FLOTILLA_DATA": str(directory / "data"),
        "TRADING_SYMBOLS": "BTCUSDT",
        **{port: str(free_port()) for port in PORTS},
        **ports,
    }


async def test_the_page_brings_a_fleet_up_beside_the_platform_and_takes_it_away_again(
    platform, servers, empty_database_url, tmp_path
):
    await _forget(platform, servers)
    ports = {name: str(free_port()) for name in ("FEATURE_SERVICE_PORT", "POSITION_MANAGER_PORT")}
    environment = _environment(tmp_path, servers, empty_database_url, ports)
    before = await _columns(platform)
    done = []
    async with (
        neighbours(empty_database_url, servers.rabbitmq_url, ports, tmp_path / "neighbours.log"),
        shell(environment) as bash,
    ):
        for heading, commands in steps(PAGE):
            said = await bash.run(commands)
            done.append(heading)
            match heading.partition(".")[0]:
                case "The way back" if "kill" in commands:
                    assert _not_stopped(tmp_path / "data" / "logs") == []
                case "5":
                    _permit(servers, tmp_path / "told")
                case "6":
                    for name in ("feature_service_api_key", "position_manager_api_key"):
                        (tmp_path / "data" / "secrets" / name).write_text(KEY)
                case "8":
                    await _holds(said, commands, platform)
    assert [each for each in dict.fromkeys(done) if each[0].isdigit()] == [
        "1. Where things are",
        "2. Keep what is there",
        "3. The schema",
        "4. A login for each service",
        "5. A user for each service at the broker",
        "6. Settings",
        "7. Start",
        "8. The first day",
    ]
    assert await _columns(platform) == before
    assert await platform.fetchval("SELECT count(*) FROM pg_roles WHERE rolname LIKE '%_login'") == 0


def test_the_page_gives_the_broker_the_permissions_of_the_security_page():
    security = (ROOT / "docs" / "security.md").read_text()
    permissions = re.findall(r"^rabbitmqctl set_permissions (.+)$", security, re.MULTILINE)

    assert len(permissions) == len(SERVICES)
    assert sorted(re.findall(r"^permit (.+)$", PAGE.read_text(), re.MULTILINE)) == sorted(permissions)


# What stands under "The first day", block by block.
async def _holds(said, commands, platform):
    if "flotilla health" in commands:
        assert "model-service is" in said
        assert "HALTED" in said
        await _until(platform, "SELECT 1 FROM latest_outcomes WHERE reason = 'trading_halted'")
    elif "state reduce" in commands:
        await _until(platform, "SELECT 1 FROM latest_outcomes WHERE reason = 'trading_reducing'")
    else:
        assert "state resume" in commands
        await _until(
            platform, "SELECT 1 FROM latest_outcomes WHERE coalesce(reason, 'signal') NOT LIKE 'trading_%'"
        )


def _not_stopped(logs):
    return [each.stem for each in logs.iterdir() if '"service stopped"' not in each.read_text()]


async def _until(platform, query):
    async with asyncio.timeout(PATIENCE_S):
        while not await platform.fetch(query):
            await asyncio.sleep(0.1)


def _permit(servers, told):
    commands = [json.loads(line) for line in told.read_text().splitlines()]
    passwords = {name: password for command, name, password, *_ in commands if command == "add_user"}
    for command, name, *permissions in commands:
        if command == "set_permissions":
            servers.rabbitmq.add_user(name, passwords[name], "/", tuple(permissions))


async def _columns(platform):
    return [
        tuple(row)
        for row in await platform.fetch(
            "SELECT table_name, column_name, udt_name, is_nullable FROM information_schema.columns"
            " WHERE table_schema = 'public' ORDER BY 1, 2"
        )
    ]
