"""Every step of the schema leaves the release before it working: it adds, and takes nothing away.

What a step takes away, or newly forbids, in tables that were there before it has to be listed here with the
reason why no build of the release before can notice. Removal is a step of its own, a release after the last
build that used what is removed.
"""

from itertools import pairwise

import asyncpg
import pytest
from pydantic import SecretStr
from tests.migrations import platform_database

from common import tables
from common.database import create_engine
from common.probes import database_check
from common.settings import DatabaseSettings
from migrations import history

STEPS = list(pairwise(f"{number:04}" for number in range(1, int(tables.SCHEMA_HEAD) + 1)))
UNIQUE = "newly demands CREATE UNIQUE INDEX ON"
TAKEN_FOR_A_REASON = {
    "0003": ("model_quality_metrics newly demands CHECK", "it is wider than the check that it replaces"),
    "0004": ("model_versions newly demands CHECK (((verdict)::text", "of a column that the step adds"),
    "0005": ("trading_states newly demands CHECK", "it is wider than the check that it replaces"),
    "0006": (
        f"training_runs {UNIQUE} public.training_runs USING btree (strategy_id)",
        "no trainer was released that would run two trainings of one strategy",
    ),
    "0008": (
        f"training_runs {UNIQUE} public.training_runs USING btree (idempotency_key)",
        "of a column that the step adds",
    ),
}
"""By step: how what is taken or forbidden begins, and why the release before does without it."""

COLUMNS = """
    SELECT table_name, column_name, concat_ws(' ', udt_name, character_maximum_length, numeric_precision,
        numeric_scale) AS type, is_nullable = 'YES' AS may_be_null, column_default IS NOT NULL AS has_default
    FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name <> 'flotilla_alembic_version'
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text AS "table", pg_get_constraintdef(oid) AS definition FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'u', 'p', 'x')
"""
UNIQUE_INDEXES = """
    SELECT tablename AS "table", regexp_replace(indexdef, 'INDEX \\S+', 'INDEX') AS definition FROM pg_indexes
    WHERE schemaname = 'public' AND indexdef LIKE 'CREATE UNIQUE%'
"""


@pytest.fixture
async def platform(empty_database_url):
    connection = await asyncpg.connect(empty_database_url)
    await platform_database.build(connection)
    yield connection
    await connection.close()


@pytest.fixture
async def engine(empty_database_url):
    settings = DatabaseSettings(database_url=SecretStr(empty_database_url))
    engine = create_engine(settings, application="test_expand_only")
    yield engine
    await engine.dispose()


@pytest.mark.parametrize(("below", "above"), STEPS)
async def test_a_step_takes_nothing_from_the_release_before(engine, platform, below, above):
    await history.upgrade(engine, below)
    before = await found(platform)
    await history.upgrade(engine, above)
    after = await found(platform)

    begins, _ = TAKEN_FOR_A_REASON.get(above, ("nothing", ""))
    lost = list(taken(*before, *after))
    assert len(lost) == (above in TAKEN_FOR_A_REASON), lost
    assert all(each.startswith(begins) for each in lost), lost


@pytest.mark.parametrize(
    ("revision", "problem"),
    [
        ("0001", f"the schema is at 0001, this build needs {tables.SCHEMA_HEAD}: migrate"),
        (tables.SCHEMA_HEAD, None),
        ("9999", None),
    ],
)
async def test_a_build_works_on_its_schema_and_newer_ones_and_on_no_older(
    engine, platform, revision, problem
):
    await history.upgrade(engine, "0001")
    await platform.execute("UPDATE flotilla_alembic_version SET version_num = $1", revision)

    assert await database_check(engine)() == problem


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE trading_states DROP COLUMN reason", "trading_states.reason is gone or changed"),
        (
            "ALTER TABLE trading_states RENAME COLUMN reason TO why",
            "trading_states.reason is gone or changed",
        ),
        (
            "ALTER TABLE trading_states ALTER COLUMN reason TYPE varchar(9)",
            "trading_states.reason is gone or changed",
        ),
        ("ALTER TABLE trading_states ADD COLUMN x int NOT NULL", "trading_states.x must be given"),
        ("ALTER TABLE trading_states ADD CHECK (scope <> 'x')", "trading_states newly demands CHECK"),
        (
            "CREATE UNIQUE INDEX ON trading_states (reason)",
            "trading_states newly demands CREATE UNIQUE INDEX",
        ),
        ("DROP TABLE trading_states CASCADE", "trading_states.scope is gone or changed"),
    ],
)
async def test_what_a_step_takes_is_noticed(engine, platform, change, said):
    await history.upgrade(engine)
    before = await found(platform)
    await platform.execute(change)

    assert any(each.startswith(said) for each in taken(*before, *await found(platform)))


async def found(connection):
    """Columns by table and name, and what the tables demand of their rows."""
    columns = {
        (row["table_name"], row["column_name"]): (row["type"], row["may_be_null"], row["has_default"])
        for row in await connection.fetch(COLUMNS)
    }
    demands = {
        (row["table"], row["definition"])
        for query in (CONSTRAINTS, UNIQUE_INDEXES)
        for row in await connection.fetch(query)
    }
    return columns, demands


def taken(columns, demands, newer_columns, newer_demands):
    """What a build that knows only `columns` and `demands` could no longer read or write."""
    tables_before = {table for table, _ in columns}
    for (table, name), shape in sorted(columns.items()):
        if not _still_there(shape, newer_columns.get((table, name))):
            yield f"{table}.{name} is gone or changed"
    for (table, name), (_, may_be_null, has_default) in sorted(newer_columns.items()):
        is_new = table in tables_before and (table, name) not in columns
        if is_new and not (may_be_null or has_default):
            yield f"{table}.{name} must be given"
    for table, definition in sorted(newer_demands - demands):
        if table in tables_before:
            yield f"{table} newly demands {definition}"


def _still_there(shape, newer):
    if newer is None:
        return False
    (kind, may_be_null, has_default), (newer_kind, newer_may_be_null, newer_has_default) = shape, newer
    return kind == newer_kind and may_be_null <= newer_may_be_null and has_default <= newer_has_default
