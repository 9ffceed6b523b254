"""Every question of the dashboards, on a database with rows for each."""

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from deploy.grafana.build import DASHBOARDS
from deploy.grafana.panels import STRATEGIES
from sqlalchemy import insert
from tests.integration.seeded import seed

from common import tables
from common.database import create_engine
from common.settings import DatabaseSettings

NOW = datetime.now(UTC)
FROM, UNTIL = NOW - timedelta(days=61), NOW + timedelta(hours=3)  # rows are written long after the import
NUMBERS = {"int4", "int8", "numeric", "float8"}
TIMES = {"timestamp", "timestamptz", *NUMBERS}

ROWS = [
    (
        tables.signal_outbox,
        {
            "signal_id": uuid4(),
            "kind": "entry",
            "strategy_id": "momentum",
            "symbol": "BTCUSDT",
            "side": "buy",
            "amount_quote": 100,
            "payload": "{}",
            "trace_id": "t",
            "valid_until": NOW,
            "owner": "one",
            "lease_until": NOW,
        },
    ),
    (
        tables.skip_counts,
        {"minute": NOW, "strategy_id": "momentum", "symbol": "BTCUSDT", "reason": "hold", "skips": 40},
    ),
    (
        tables.latest_outcomes,
        {
            "strategy_id": "momentum",
            "symbol": "BTCUSDT",
            "feature_timestamp": NOW,
            "decided_at": NOW,
            "outcome": "skip",
            "reason": "hold",
            "facts": {"threshold": 0.5},
            "replica": "one",
        },
    ),
    (
        tables.position_lifecycles,
        {
            "lifecycle_id": uuid4(),
            "symbol": "BTCUSDT",
            "side": "long",
            "opened_at": NOW,
            "strategy_id": "momentum",
            "entry_price": 100,
            "size": 1,
            "peak_price": 101,
            "newest_event_at": NOW,
            "last_evaluated_at": NOW,
        },
    ),
    (tables.failed_position_updates, {"body": "{", "reason": "no JSON", "trace_id": "t"}),
    *(
        (
            tables.training_runs,
            {
                "run_id": uuid4(),
                "strategy_id": "momentum",
                "symbol": symbol,
                "trigger": "manual",
                "priority": "HIGH",
                "state": state,
                "started_at": NOW - timedelta(minutes=5),
                "finished_at": NOW if state == "succeeded" else None,
                "progress": {"stage": "fit", "round": 3},
                "trace_id": "t",
            },
        )
        for symbol, state in (("BTCUSDT", "running"), ("ETHUSDT", "succeeded"))
    ),
    (
        tables.alerts,
        {
            "alert_id": uuid4(),
            "kind": "position_blind",
            "scope": "fleet",
            "severity": "critical",
            "sentence": ".",
        },
    ),
    (
        tables.served_versions,
        {"replica": "one", "strategy_id": "momentum", "state": "serving", "version": "v1", "since": NOW},
    ),
    (
        tables.trading_states,
        {"scope": "fleet", "state": "HALTED", "actor": "ann", "reason": "a test", "changed_at": NOW},
    ),
    (
        tables.dead_letters,
        {
            "letter_id": uuid4(),
            "queue": "features.live",
            "service": "inference",
            "reason": "no such field",
            "body": b"{}",
            "headers": {},
            "trace_id": "t",
            "failed_at": NOW,
        },
    ),
    (
        tables.operator_actions,
        {"actor": "ann", "action": "activate", "subject": "version:v1", "trace_id": "t"},
    ),
]
"""What `seed` leaves out."""


def expanded(sql):
    """The statement as Grafana sends it."""
    for macro, replacement in (
        (r"\$__timeGroup\(([^,]+), \$__interval\)", r"floor(extract(epoch from \1)/3600)*3600"),
        (
            r"\$__timeFilter\(([^)]+)\)",
            rf"\1 BETWEEN '{FROM:%Y-%m-%dT%H:%M:%SZ}' AND '{UNTIL:%Y-%m-%dT%H:%M:%SZ}'",
        ),
        (r"\$strategy\b", "'momentum','reversal'"),
    ):
        sql = re.sub(macro, replacement, sql)
    assert "$" not in sql, "Grafana has no such macro"
    return sql


@pytest.fixture
async def grafana(database_url):
    await seed(database_url, versions=60, executions=2_000, signals=1_000)
    engine = create_engine(DatabaseSettings(database_url=database_url), application="test")
    async with engine.begin() as connection:
        for table, row in ROWS:
            await connection.execute(insert(table).values(row))
    await engine.dispose()
    # Nothing may depend on the server's zone, and Grafana's role only reads.
    session = {"timezone": "America/New_York", "default_transaction_read_only": "on"}
    connection = await asyncpg.connect(database_url, server_settings=session)
    yield connection
    await connection.close()


async def test_every_panel_has_an_answer_in_the_shape_that_it_draws(grafana):
    asked = [(panel, expanded(panel.sql)) for each in DASHBOARDS for panel in each.panels if panel.sql]
    for panel, sql in asked:
        statement = await grafana.prepare(sql)
        columns = {each.name: each.type.name for each in statement.get_attributes()}
        rows = await statement.fetch()

        assert rows, panel.title
        if panel.kind == "timeseries":
            values = [kind for name, kind in columns.items() if name not in ("time", "metric")]
            assert columns["time"] in TIMES, panel.title
            assert columns.get("metric", "text") in ("text", "varchar"), panel.title
            assert len(values) == 1, panel.title
            assert values[0] in NUMBERS, panel.title
            assert all(row["time"] is not None for row in rows), panel.title
            assert [row["time"] for row in rows] == sorted(row["time"] for row in rows), panel.title


async def test_the_strategies_can_be_chosen(grafana):
    offered = [row["strategy_id"] for row in await grafana.fetch(STRATEGIES)]

    assert "momentum" in offered
    assert offered == sorted(set(offered))


async def test_active_versions_are_shown_beside_their_baseline_by_split(grafana):
    [models] = [each for each in DASHBOARDS if each.uid == "flotilla-models"]
    rows = await grafana.fetch(expanded(models.panels[0].sql))

    assert {(row["strategy_id"], row["split"]) for row in rows} == {
        ("momentum", "live"),
        ("momentum", "test"),
        ("momentum", "validation"),
    }
    for row in rows:
        assert (row["baseline"] is None) == (row["split"] == "live")
        assert row["accuracy"] is not None


async def test_a_time_without_a_zone_is_utc(grafana):
    [signals] = [each for each in DASHBOARDS if each.uid == "flotilla-signals"]
    rows = await grafana.fetch(expanded(signals.panels[0].sql))

    assert sum(row["signals"] for row in rows) == await grafana.fetchval(
        "SELECT count(*) FROM trading_signals WHERE strategy_id IN ('momentum', 'reversal')"
    )
    assert NOW.timestamp() - float(rows[-1]["time"]) < 2 * 3600 + 61 * 86_400 / 400
