"""The schema's history, up and down, on an empty database and on top of a platform's.

What must hold: the code's tables and the database's are the same on both ways, a platform loses nothing,
and the way back ends exactly where it began.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import asyncpg
import pytest
from alembic.util import CommandError
from pydantic import SecretStr
from sqlalchemy import MetaData, inspect
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.migrations import platform_database

from common import tables
from common.database import create_engine
from common.settings import DatabaseSettings
from migrations import history
from migrations.__main__ import main
from sandbox.blocking import blocking

HEAD = tables.SCHEMA_HEAD

ADOPTED = set(tables.ADOPTED)
NEW = set(tables.ours.tables) - ADOPTED
OUR_COLUMNS = ["amount_quote", "sha256", "run_id", "verdict", "verdict_sentence", "evidence"]

COLUMNS = """
    SELECT table_name || '.' || column_name || ' ' || concat_ws(' ', udt_name, character_maximum_length,
        numeric_precision, numeric_scale, is_nullable, column_default)
    FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name <> 'flotilla_alembic_version'
"""
CONSTRAINTS = """
    SELECT relname || ' ' || {name} || pg_get_constraintdef(con.oid) || coalesce(obj_description(con.oid), '')
    FROM pg_constraint con JOIN pg_class rel ON rel.oid = conrelid
    WHERE connamespace = 'public'::regnamespace AND relname <> 'flotilla_alembic_version'
"""
INDEXES = """
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'flotilla_alembic_version'
"""
COMMENTS = """
    SELECT relname || obj_description(oid, 'pg_class') FROM pg_class
    WHERE relnamespace = 'public'::regnamespace
"""

SIGNALS_PANEL = """
    SELECT strategy_id, asset, side, count(*) FROM trading_signals
    WHERE timestamp > '2026-01-01' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
STRATEGIES_PANEL = """
    SELECT strategy_id, avg(((performance->>'realized_pnl')::numeric > 0)::int) AS win_rate,
        sum((performance->>'realized_pnl')::numeric) AS pnl
    FROM execution_events GROUP BY 1 ORDER BY 1
"""
VERSIONS_PANEL = """
    SELECT version, strategy_id, model_type, trained_at FROM model_versions
    WHERE is_active ORDER BY version
"""
ORDERS_PANEL = """
    SELECT o.status, s.strategy_id FROM orders o JOIN trading_signals s USING (signal_id)
"""
PANELS = (SIGNALS_PANEL, STRATEGIES_PANEL, VERSIONS_PANEL, ORDERS_PANEL)


class Shape(NamedTuple):
    """What a reader of the catalogue sees, sorted."""

    columns: list[str]
    constraints: list[str]
    indexes: list[str]
    comments: list[str]


@pytest.fixture
async def engine(empty_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(settings_for(empty_database_url), application="test_migrations")
    yield engine
    await engine.dispose()


@pytest.fixture
async def connection(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def platform(connection: asyncpg.Connection) -> asyncpg.Connection:
    await platform_database.build(connection)
    return connection


@pytest.fixture
def run_job(empty_database_url, monkeypatch, capsys) -> Callable[..., Awaitable[tuple[int, str]]]:
    """`python -m migrations ...` on the empty database: its exit code and what it said."""
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    return partial(job, capsys)


@pytest.fixture(scope="module")
def upgraded_platform_url(shared_empty_database_url: str) -> str:
    """A platform's database after the upgrade, of all tests that only add rows to it."""

    async def build() -> None:
        connection = await asyncpg.connect(shared_empty_database_url)
        await platform_database.build(connection)
        await connection.close()
        engine = create_engine(settings_for(shared_empty_database_url), application="test_migrations")
        await history.upgrade(engine)
        await engine.dispose()

    blocking(build())
    return shared_empty_database_url


def test_services_expect_the_newest_revision():
    assert history.head() == HEAD


async def test_an_empty_database_becomes_exactly_what_the_code_describes(engine, connection):
    await history.upgrade(engine)
    migrated = await shape(connection)
    differences = await history.drift(engine)
    await history.downgrade(engine, "base")
    async with engine.begin() as session:
        await session.run_sync(tables.ours.create_all)
    described = await shape(connection)

    assert differences == []
    assert migrated.columns == described.columns
    assert without_comments(migrated.constraints) == described.constraints
    assert migrated.indexes == described.indexes


async def test_an_empty_database_gets_the_platforms_shape_for_the_platforms_tables(engine, connection):
    await history.upgrade(engine, "0001")
    created = await shape(connection, constraint_names=False)
    await history.downgrade(engine, "base")
    await connection.execute(
        platform_database.OURS.replace(
            "{range_check}",
            "CHECK (metric_type <> 'classification' OR (metric_value >= 0 AND metric_value <= 1))",
        )
    )

    assert created._replace(comments=[]) == await shape(connection, constraint_names=False)


async def test_the_way_back_from_an_empty_database_leaves_nothing(engine, connection):
    await history.upgrade(engine)

    step = await history.downgrade(engine, "base")

    assert step == history.Step(HEAD, None)
    assert await connection.fetch("SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


@pytest.mark.parametrize(
    ("below", "above"), list(pairwise(f"{number:04}" for number in range(1, int(HEAD) + 1)))
)
async def test_each_step_back_undoes_its_step_forward(engine, platform, below, above):
    await history.upgrade(engine, below)
    before = await shape(platform)

    await history.upgrade(engine, above)
    await history.downgrade(engine, below)

    assert await shape(platform) == before


async def test_a_platform_loses_nothing_but_the_range_check(engine, platform):
    before, rows_before = await shape(platform), await rows(platform)

    await history.upgrade(engine)
    after, rows_after = await shape(platform), await rows(platform)

    lost = {part for old, new in zip(before, after, strict=True) for part in set(old) - set(new)}
    assert len(lost) == 1
    assert "metric_value >= (0)" in lost.pop()
    assert {table: rows_after[table] for table in rows_before} == rows_before
    assert await history.drift(engine) == []


async def test_versions_are_numbered_on_above_the_platforms(engine, platform):
    await platform.execute(
        "UPDATE model_versions SET version = 'v41.2' WHERE id = (SELECT id FROM model_versions LIMIT 1)"
    )

    await history.upgrade(engine)

    assert await platform.fetchval("SELECT nextval('model_version_numbers')") == 42


async def test_the_first_version_of_an_empty_database_is_number_one(engine, connection):
    await history.upgrade(engine)

    assert await connection.fetchval("SELECT nextval('model_version_numbers')") == 1


async def test_a_platforms_panels_show_the_same_after_the_upgrade(engine, platform):
    before = [await platform.fetch(query) for query in PANELS]

    await history.upgrade(engine)

    assert [await platform.fetch(query) for query in PANELS] == before
    assert all(before)


@pytest.mark.parametrize(
    "range_check", platform_database.RANGE_CHECKS.values(), ids=platform_database.RANGE_CHECKS
)
async def test_a_platform_is_exactly_itself_again_after_the_way_back(engine, connection, range_check):
    await platform_database.build(connection, range_check)
    before, rows_before = await shape(connection), await rows(connection)

    await history.upgrade(engine)
    await connection.execute("INSERT INTO rate_limits VALUES ('fleet', 1, now())")
    await history.downgrade(engine, "base")

    assert await shape(connection) == before
    assert await rows(connection) == rows_before
    assert await connection.fetchval("SELECT to_regclass('flotilla_alembic_version')") is None


async def test_a_range_check_with_a_comment_comes_back_with_it(engine, platform):
    comment = "it's the platform's: \\d {0} :name"
    await platform.execute(
        "COMMENT ON CONSTRAINT model_quality_metrics_check ON model_quality_metrics "
        f"IS '{comment.replace(chr(39), chr(39) * 2)}'"
    )
    before = await shape(platform)

    await history.upgrade(engine)
    await history.downgrade(engine, "0001")

    assert await shape(platform) == before
    assert any(comment in constraint for constraint in before.constraints)


async def test_the_way_back_is_refused_when_the_platforms_check_was_forgotten(engine, platform, run_job):
    await history.upgrade(engine)
    await platform.execute("ALTER TABLE model_quality_metrics DROP CONSTRAINT chk_metric_value_by_name")

    code, said = await run_job("downgrade", "base")

    assert code == 1
    assert "chk_metric_value_by_name or its comment is gone" in said
    assert await history.current(engine) == HEAD


async def test_a_platform_with_some_of_the_tables_keeps_those_and_loses_the_rest(engine, platform):
    await platform.execute("DROP TABLE position_states, execution_events")
    before = await shape(platform)

    await history.upgrade(engine)
    assert await history.drift(engine) == []
    await history.downgrade(engine, "base")

    assert await shape(platform) == before


async def test_the_way_back_keeps_values_that_the_platforms_check_refuses(engine, platform):
    await history.upgrade(engine)
    await add_metric(platform, "log_loss", "classification", "1.7")
    await history.downgrade(engine, "base")

    assert await platform.fetchval("SELECT count(*) FROM model_quality_metrics WHERE metric_value = 1.7") == 1
    assert await platform.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'model_quality_metrics_check'"
    ) == (
        "CHECK ((((metric_type)::text <> 'classification'::text) OR "
        "((metric_value >= (0)::numeric) AND (metric_value <= (1)::numeric)))) NOT VALID"
    )
    with pytest.raises(asyncpg.CheckViolationError):
        await add_metric(platform, "log_loss", "classification", "1.8")


@pytest.mark.parametrize(
    ("metric", "fits"),
    [
        (("accuracy", "classification", "1"), True),
        (("accuracy", "classification", "1.00000001"), False),
        (("roc_auc", "classification", "-0.1"), False),
        (("brier", "classification", "NaN"), False),
        (("ece", "classification", "0"), True),
        (("mcc", "classification", "-1"), True),
        (("mcc", "classification", "-1.1"), False),
        (("log_loss", "classification", "2.5"), True),
        (("log_loss", "classification", "-0.1"), False),
        (("log_loss", "classification", "NaN"), False),
        (("lift", "classification", "-0.03"), True),  # no range is known for it
        (("lift", "classification", "NaN"), False),
        (("accuracy", "trading_performance", "12"), True),  # the platform's check never covered these
        (("mse", "regression", "480"), True),
    ],
)
async def test_each_classification_metric_has_its_own_range(upgraded_platform_url, metric, fits):
    platform = await asyncpg.connect(upgraded_platform_url)

    try:
        await add_metric(platform, *metric)
        stored = True
    except asyncpg.CheckViolationError:
        stored = False
    finally:
        await platform.close()

    assert stored is fits


async def test_a_second_upgrade_changes_nothing(engine, platform):
    await history.upgrade(engine)
    before = await shape(platform)

    step = await history.upgrade(engine)

    assert step == history.Step(HEAD, HEAD)
    assert await shape(platform) == before


async def test_jobs_started_together_migrate_once(empty_database_url, platform, engine):
    environment = os.environ | {"DATABASE_URL": empty_database_url}
    async with platform.transaction():
        await platform.execute("LOCK TABLE trading_signals")  # neither can finish before both have begun
        jobs = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "migrations", "upgrade", env=environment, stdout=asyncio.subprocess.PIPE
            )
            for _ in range(2)
        ]
        await waiting_sessions(platform, 2)

    said = sorted([(await job.communicate())[0].decode() for job in jobs])

    assert [job.returncode for job in jobs] == [0, 0]
    assert said == [f"{HEAD}: nothing to do\n", f"no revision -> {HEAD}\n"]
    assert await history.drift(engine) == []


async def test_a_history_that_fails_half_way_leaves_the_database_as_it_was(engine, platform, run_job):
    await platform.execute("CREATE TABLE skip_counts (theirs int)")
    before, rows_before = await shape(platform), await rows(platform)

    code, said = await run_job("upgrade")

    assert code == 1
    assert 'relation "skip_counts" already exists' in said
    assert await history.current(engine) is None
    assert (await shape(platform), await rows(platform)) == (before, rows_before)


async def test_a_table_that_is_not_the_platforms_is_refused_by_name(engine, connection):
    await connection.execute("CREATE TABLE trading_signals (id int, signal_id uuid)")

    with pytest.raises(CommandError, match="table trading_signals exists but lacks strategy_id, asset, "):
        await history.upgrade(engine)

    assert await history.current(engine) is None


async def test_a_database_of_a_newer_release_is_left_alone(engine, connection):
    await history.upgrade(engine)
    await connection.execute("UPDATE flotilla_alembic_version SET version_num = '9999'")

    with pytest.raises(CommandError, match=f"stands at 9999, this release knows only up to {HEAD}"):
        await history.upgrade(engine)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("ALTER TABLE signal_outbox DROP COLUMN owner", "signal_outbox: add column: owner"),
        ("DROP INDEX signal_outbox_pending_idx", "signal_outbox: add index: signal_outbox_pending_idx"),
        ("ALTER TABLE rate_limits ADD COLUMN theirs int", "rate_limits: remove column: theirs"),
        (
            "ALTER TABLE warmup_slots ALTER symbol DROP NOT NULL",
            "warmup_slots: modify nullable: symbol is True",
        ),
        ("DROP TABLE skip_counts", "skip_counts: add table"),
        ("ALTER TABLE trading_signals DROP COLUMN trace_id", "trading_signals: add column: trace_id"),
        (
            "ALTER TABLE position_states ALTER entry_time TYPE timestamptz",
            "position_states: modify type: entry_time",
        ),
        ("ALTER TABLE model_versions ADD COLUMN symbol text", None),  # the platform may grow
        ("DROP INDEX idx_trading_signals_asset", None),
        ("CREATE TABLE grafana_notes (id int)", None),
    ],
)
async def test_a_check_names_what_is_missing_and_lets_the_platform_grow(
    database_url, monkeypatch, capsys, change, difference
):
    connection = await asyncpg.connect(database_url)
    await connection.execute(change)
    await connection.close()
    monkeypatch.setenv("DATABASE_URL", database_url)

    code, said = await job(capsys, "check")

    assert code == (1 if difference else 0)
    assert said.startswith(f"migrations: {difference}" if difference else f"{HEAD}, as this release needs it")


async def test_a_check_fails_on_a_database_that_is_behind(engine, run_job):
    await history.upgrade(engine, "0002")

    assert await run_job("check") == (
        1,
        f"migrations: the database stands at 0002, this release needs {HEAD}: run upgrade\n",
    )


async def test_the_neighbours_have_every_column_we_read(engine, platform):
    def found(session: Any) -> MetaData:
        reflected = MetaData()
        reflected.reflect(session, only=list(tables.neighbours.tables))
        return reflected

    async with engine.connect() as session:
        reflected = await session.run_sync(found)

    for table in tables.neighbours.tables.values():
        assert table.info == {"read_only": True}
        for column in table.columns:
            theirs = reflected.tables[table.name].columns[column.name]
            assert column.type.compile(engine.dialect) == theirs.type.compile(engine.dialect), column
            assert column.nullable == theirs.nullable, column


async def test_the_migrations_never_touch_a_neighbours_table(engine, connection):
    await history.upgrade(engine)

    async with engine.connect() as session:
        found = await session.run_sync(lambda session: set(inspect(session).get_table_names()))

    assert found == ADOPTED | NEW | {"flotilla_alembic_version"}


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        ({}, 78, "POSTGRES_HOST, POSTGRES_DB, POSTGRES_USER not set: set DATABASE_URL instead, or these"),
        ({"POSTGRES_HOST": "h", "POSTGRES_USER": "u"}, 78, "POSTGRES_DB not set: set DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:top-secret@h:port/d"}, 78, "DATABASE_URL cannot be read: write"),
        ({"DATABASE_URL": "mysql://u:top-secret@h/d"}, 78, "DATABASE_URL: must start with postgresql://"),
        (
            {"DATABASE_URL": "postgresql://u:top-secret@127.0.0.1:{closed}/d"},
            1,
            "start it, or correct DATABASE_URL",
        ),
        ({"POSTGRES_PORT": "{closed}"}, 1, "start it, or correct POSTGRES_HOST and POSTGRES_PORT"),
        ({"POSTGRES_PORT": "{28P01}"}, 1, "refused the login: correct POSTGRES_USER and POSTGRES_PASSWORD"),
        ({"POSTGRES_PORT": "{3D000}"}, 1, "database d at 127.0.0.1:{3D000} as u does not exist: create the"),
        ({"POSTGRES_PORT": "{57P03}"}, 1, "is starting or stopping: run again in a moment"),
        ({"POSTGRES_PORT": "{42501}"}, 1, "refused by the test: let the role own our tables and create in"),
        ({"POSTGRES_PORT": "{55P03}"}, 1, "a long transaction holds our tables: end it, then run again"),
        ({"POSTGRES_PORT": "{XX000}"}, 1, "database d at 127.0.0.1:{XX000} as u: refused by the test"),
    ],
)
async def test_whatever_fails_is_one_line_with_the_way_out(variables, code, said, monkeypatch, capsys):
    for name in ("DATABASE_URL", "HOST", "PORT", "DB", "USER", "PASSWORD"):
        monkeypatch.delenv(name if "_" in name else f"POSTGRES_{name}", raising=False)
    if "POSTGRES_PORT" in variables:
        variables = variables | {
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_DB": "d",
            "POSTGRES_USER": "u",
            "POSTGRES_PASSWORD": "top-secret",
        }
    wanted = "".join(variables.values()).partition("{")[2].partition("}")[0]
    async with refusing_server(wanted) as port:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.replace(f"{{{wanted}}}", str(port)))
        returned = await asyncio.to_thread(exit_code, ["upgrade"])
    error = capsys.readouterr().err

    assert returned == code
    assert said.replace(f"{{{wanted}}}", str(port)) in error
    assert "top-secret" not in error
    assert "Traceback" not in error
    if code == 1:
        assert error.count("\n") == 1


async def test_an_unknown_revision_is_named(run_job):
    code, said = await run_job("upgrade", "0999")

    assert (code, said) == (1, "migrations: Can't locate revision identified by '0999'\n")


async def test_the_job_says_where_the_database_stood_and_stands(run_job):
    assert await run_job("current") == (0, "no revision\n")
    assert await run_job("upgrade", "0001") == (0, "no revision -> 0001\n")
    assert await run_job("upgrade") == (0, f"0001 -> {HEAD}\n")
    assert await run_job("current") == (0, f"{HEAD}\n")
    assert await run_job("downgrade", "-1") == (0, f"{HEAD} -> {int(HEAD) - 1:04}\n")
    assert await run_job("downgrade", "base") == (0, f"{int(HEAD) - 1:04} -> no revision\n")


def settings_for(url: str) -> DatabaseSettings:
    return DatabaseSettings(database_url=SecretStr(url), database_statement_timeout_ms=10_000)


async def job(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = await asyncio.to_thread(exit_code, list(arguments))
    return code, "".join(capsys.readouterr())


def exit_code(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


async def shape(connection: asyncpg.Connection, *, constraint_names: bool = True) -> Shape:
    constraints = CONSTRAINTS.format(name="conname || ' ' || convalidated" if constraint_names else "''")
    queries = (COLUMNS, constraints, INDEXES, COMMENTS)
    return Shape(*[sorted(row[0] for row in await connection.fetch(query) if row[0]) for query in queries])


def without_comments(constraints: list[str]) -> list[str]:
    return [constraint.partition("[{")[0] for constraint in constraints]


async def rows(connection: asyncpg.Connection) -> dict[str, list[str]]:
    """Every row of the platform's tables, in the platform's columns."""
    names = [*tables.ADOPTED, *tables.neighbours.tables]
    queries = {name: f"SELECT (to_jsonb(t) - $1::text[])::text FROM {name} t ORDER BY 1" for name in names}
    found = {
        name: [row[0] for row in await connection.fetch(query, OUR_COLUMNS)]
        for name, query in queries.items()
    }
    assert all(found.values()), "a table without rows would prove nothing"
    return found


async def add_metric(connection: asyncpg.Connection, metric: str, kind: str, value: str) -> None:
    await connection.execute(
        "INSERT INTO model_quality_metrics (model_version_id, metric_name, metric_type, metric_value) "
        "SELECT id, $1, $2, $3 FROM model_versions WHERE version = 'v1'",
        metric,
        kind,
        Decimal(value),
    )


async def waiting_sessions(connection: asyncpg.Connection, count: int) -> None:
    """Returns once `count` migrations wait for a lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'migrations' AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(30):
        while await connection.fetchval(query) < count:
            await connection.execute("SELECT pg_stat_clear_snapshot()")
            await asyncio.sleep(0.05)


@asynccontextmanager
async def refusing_server(sqlstate: str) -> AsyncIterator[int]:
    """Yields the port of a server that refuses every start-up with `sqlstate`; `closed`: of no server."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while int.from_bytes(await reader.readexactly(4)) == 8:  # a request for TLS: not here
            await reader.readexactly(4)
            writer.write(b"N")
        fields = f"SFATAL\0VFATAL\0C{sqlstate}\0Mrefused by the test\0\0".encode()
        writer.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if sqlstate == "closed":
        server.close()
    yield port
    server.close()
    await server.wait_closed()
