"""The logins of deploy/postgres and the users that `make secrets` defines, on real servers."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import pytest
from aiormq.exceptions import ChannelAccessRefused, ProbableAuthenticationError
from pydantic import SecretStr

from common.database import create_engine
from common.settings import DatabaseSettings
from migrations import history
from sandbox.postgres import WHEEL_MAJOR, postgres_binaries
from sandbox.servers import FLOTILLA

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = ("inference", "trainer", "exit_strategy", "api")
READ = (
    "features.live",
    "features.dataset.ready",
    "position-manager.position_updated",
    "flotilla.dead_letters",
)
"""A queue that each of them consumes."""


@pytest.fixture
def secrets(tmp_path):
    """What `make secrets` makes."""
    (tmp_path / "deploy").mkdir()
    shutil.copytree(DEPLOY / "rabbitmq", tmp_path / "deploy/rabbitmq")
    script = shutil.copy(DEPLOY / "new_secrets.py", tmp_path / "deploy")
    subprocess.run([sys.executable, script], check=True, capture_output=True)
    return tmp_path / "deploy/secrets"


@pytest.fixture
async def owner(empty_database_url):
    """A connection as whoever administers the database; the logins are gone afterwards."""
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    for service in SERVICES:
        await connection.execute(f"DROP ROLE IF EXISTS {service}_login")
    await connection.close()


@pytest.fixture
def run_script(empty_database_url):
    psql = postgres_binaries(WHEEL_MAJOR, FLOTILLA / "packages", lambda _: None) / "psql"

    async def run(name, secrets):
        command = [psql, "--no-psqlrc", f"--set=secrets={secrets}", f"--file={DEPLOY / 'postgres' / name}"]
        done = await asyncio.to_thread(
            subprocess.run, [*command, empty_database_url], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


async def test_each_service_logs_in_with_its_own_password_and_has_its_roles_rights(
    owner, empty_database_url, secrets, run_script
):
    passwords = {each: (secrets / f"postgres_{each}_password").read_text() for each in SERVICES}

    said = await run_script("logins.sql", secrets)
    await _migrate(empty_database_url)
    said += await run_script("logins.sql", secrets)  # again, and after the migrations

    assert not [each for each in passwords.values() if each in said]
    for service, password in passwords.items():
        connection = await _connected(empty_database_url, f"{service}_login", password)
        try:
            await connection.fetch("SELECT 1 FROM trading_signals")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("CREATE TABLE mine (id int)")
            rights = await connection.fetch(
                "SELECT rolname FROM pg_roles WHERE rolname = ANY($1) AND pg_has_role(oid, 'MEMBER')",
                [f"flotilla_{each}" for each in SERVICES],
            )
        finally:
            await connection.close()
        assert [row["rolname"] for row in rights] == [f"flotilla_{service}"]


async def test_a_changed_password_counts_once_the_script_ran_again(
    owner, empty_database_url, secrets, run_script
):
    await run_script("logins.sql", secrets)
    changed = secrets / "postgres_api_password"
    changed.unlink()
    changed.write_text(token_hex(32))

    await run_script("logins.sql", secrets)

    connection = await _connected(empty_database_url, "api_login", changed.read_text())
    await connection.close()


async def test_the_sandboxs_tables_can_be_read_though_they_come_after_the_migrations(
    owner, empty_database_url, secrets, run_script
):
    await run_script("logins.sql", secrets)
    await run_script("sandbox.sql", secrets)
    await _migrate(empty_database_url)
    await owner.execute("CREATE TABLE orders (id int)")

    readable = [
        await owner.fetchval("SELECT has_table_privilege($1, 'orders', 'SELECT')", f"{service}_login")
        for service in SERVICES
    ]
    await owner.execute(
        "DROP OWNED BY flotilla_inference, flotilla_trainer, flotilla_exit_strategy, flotilla_api"
    )

    assert readable == [True] * len(SERVICES)


async def test_the_broker_takes_the_definitions_and_lets_each_user_do_its_own_work(
    secrets, servers, amqp_url, tmp_path
):
    place, mark = urlsplit(amqp_url), token_hex(4)
    definitions = json.loads((secrets / "rabbitmq_definitions").read_text())
    users = [each | {"name": f"{each['name']}_{mark}"} for each in definitions["users"]]
    may = [
        each | {"user": f"{each['user']}_{mark}", "vhost": place.path[1:]}
        for each in definitions["permissions"]
    ]
    (tmp_path / "definitions.json").write_text(json.dumps({"users": users, "permissions": may}))
    servers.rabbitmq._evaluate(
        f'{{ok, Body}} = file:read_file("{tmp_path / "definitions.json"}"), '
        "ok = rabbit_definitions:import_raw(Body)."
    )
    try:
        for service, queue in zip(SERVICES, READ, strict=True):
            password = (secrets / f"rabbitmq_{service}_password").read_text()
            url = place._replace(netloc=f"{service}_{mark}:{password}@{place.hostname}:{place.port}").geturl()
            async with await aio_pika.connect(url) as connection:
                channel = await connection.channel()
                await channel.declare_queue(queue, durable=True)
                with pytest.raises(ChannelAccessRefused):
                    await channel.declare_queue("somebody.elses")
            with pytest.raises(ProbableAuthenticationError):
                await aio_pika.connect(url.replace(password, "another"))
    finally:
        for each in users:
            servers.rabbitmq.delete_user(each["name"])


async def _migrate(database_url):
    engine = create_engine(DatabaseSettings(database_url=SecretStr(database_url)), application="test_logins")
    await history.upgrade(engine)
    await engine.dispose()


async def _connected(database_url, user, password):
    place = urlsplit(database_url)
    netloc = f"{user}:{password}@{place.hostname}:{place.port}"
    return await asyncpg.connect(place._replace(netloc=netloc).geturl())
