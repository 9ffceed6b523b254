"""The rights of the services: granted on the way up, taken on the way back, also by a login without power."""

from secrets import token_hex
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from common import tables
from common.database import create_engine
from common.settings import DatabaseSettings
from migrations import history

ROLES = ("flotilla_inference", "flotilla_trainer", "flotilla_exit_strategy", "flotilla_api")
RIGHTS = """
    SELECT table_name, privilege_type FROM information_schema.role_table_grants WHERE grantee = ANY($1)
"""


@pytest.fixture
async def plain_url(empty_database_url):
    """The database as its owner reaches it, who may create no role."""
    place, name, password = urlsplit(empty_database_url), f"owner_{token_hex(4)}", token_hex(16)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    await connection.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {name}")
    yield place._replace(netloc=f"{name}:{password}@{place.hostname}:{place.port}").geturl()
    await connection.execute(f"DROP OWNED BY {name} CASCADE")
    await connection.execute(f"DROP ROLE {name}")
    await connection.close()


async def rights(url):
    connection = await asyncpg.connect(url)
    try:
        return {tuple(row) for row in await connection.fetch(RIGHTS, list(ROLES))}
    finally:
        await connection.close()


async def moved(url, move, revision):
    settings = DatabaseSettings(database_url=SecretStr(url), database_statement_timeout_ms=60_000)
    engine = create_engine(settings, application="test")
    try:
        return await move(engine, revision)
    finally:
        await engine.dispose()


async def test_every_table_of_ours_is_readable_and_the_way_back_takes_every_right(
    migrated_template, empty_database_url, plain_url
):
    await moved(plain_url, history.upgrade, "head")
    granted = await rights(empty_database_url)
    await moved(plain_url, history.downgrade, "0008")
    after = await rights(empty_database_url)
    await moved(plain_url, history.upgrade, "head")

    assert {table for table, right in granted if right == "SELECT"} >= set(tables.ours.tables)
    assert after == set()
    assert await rights(empty_database_url) == granted


async def test_what_is_a_record_of_who_did_what_is_only_added_to(migrated_template, database_url):
    granted = await rights(database_url)

    for table in ("operator_actions", "trading_state_changes", "activations", "execution_events"):
        assert {right for name, right in granted if name == table} == {"SELECT", "INSERT"}
