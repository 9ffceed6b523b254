"""Every question about operations is answered by an index, on a database of years of them."""

import itertools
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from tests.integration.plans import indexes_used, read_whole
from tests.integration.seeded import seed

from api.queries import (
    audit,
    dead_letters,
    figures,
    fleet_health,
    news,
    outcomes,
    trainings,
    versions,
)
from common import alerts, modes, trading_states, training_runs
from common.database import create_engine
from common.processing_delay import processing_delay
from common.settings import DatabaseSettings

SMALL = {"served_versions", "latest_outcomes", "trading_states"}
"""A row for each strategy and symbol, or replica: these are read whole."""
NOW = datetime.now(UTC)
PAGE = {"limit": 100, "offset": 0}
_YEARS = (
    """
    INSERT INTO dead_letters (
        letter_id, queue, service, reason, body, headers, trace_id, failed_at, state
    )
    SELECT
        gen_random_uuid(), (ARRAY['features.live', 'order-manager.order_events'])[1 + n % 2], 'inference',
        'no JSON', convert_to(repeat(md5(n::text), 60), 'UTF8'), '{}', 't', now() - make_interval(mins => n),
        CASE WHEN n % 100 = 0 THEN 'open' WHEN n % 3 = 0 THEN 'replayed' ELSE 'discarded' END
    FROM generate_series(1, 20000) n
    """,
    """
    INSERT INTO operator_actions (acted_at, actor, action, subject, trace_id)
    SELECT
        now() - make_interval(mins => 20000 - n), 'actor ' || n % 20,
        (ARRAY['activate', 'roll_back', 'set_trading_state'])[1 + n % 3], 'version:v' || n % 1000, 't'
    FROM generate_series(1, 20000) n
    """,
    """
    INSERT INTO training_runs (
        run_id, strategy_id, symbol, trigger, priority, state, requested_at, updated_at, started_at,
        finished_at, trace_id
    )
    SELECT
        gen_random_uuid(), (ARRAY['momentum', 'reversal', 'breakout', 'carry'])[1 + n % 4], 'BTCUSDT',
        'schedule', 'NORMAL', (ARRAY['succeeded', 'rejected', 'cancelled'])[1 + n / 4 % 3], at, at, at, at,
        't'
    FROM generate_series(1, 20000) n, LATERAL (SELECT now() - make_interval(mins => n) AS at) past
    """,
    """
    INSERT INTO alerts (alert_id, kind, scope, severity, sentence, raised_at, resolved_at)
    SELECT
        gen_random_uuid(), 'delay', 'strategy:' || n, 'warning', 'late', now() - make_interval(mins => n),
        CASE WHEN n % 1000 > 0 THEN now() - make_interval(mins => n) END
    FROM generate_series(1, 20000) n
    """,
    """
    INSERT INTO trading_state_changes (scope, state, actor, reason, changed_at)
    SELECT 'strategy:s' || n % 20, 'ACTIVE', 'ada', 'over', now() - make_interval(mins => 20000 - n)
    FROM generate_series(1, 20000) n
    """,
    """
    INSERT INTO activations (strategy_id, epoch, version, sha256, actor, reason, activated_at)
    SELECT 's' || n % 20, n, 'v' || n, repeat(md5('x'), 2), 'ada', 'r', now() - make_interval(mins => n)
    FROM generate_series(1, 20000) n
    """,
    """
    INSERT INTO mode_changes (strategy_id, epoch, mode, reason, figures)
    SELECT 's' || n % 20, n, 'model', 'r', '{}' FROM generate_series(1, 20000) n
    """,
    """
    INSERT INTO skip_counts (minute, strategy_id, symbol, reason, skips)
    SELECT date_trunc('minute', now()) - make_interval(mins => m), strategy_id, 'BTCUSDT', 'hold', 5
    FROM generate_series(1, 40000) m, unnest(ARRAY['momentum', 'reversal']) strategy_id
    """,
    """
    INSERT INTO minute_bars (symbol, minute, open, high, low, close, first_at, last_at, vectors)
    SELECT symbol, date_trunc('minute', now()) - make_interval(mins => m), 1, 2, 1, 2, now(), now(), 3
    FROM generate_series(1, 20000) m, unnest(ARRAY['BTCUSDT', 'ETHUSDT']) symbol
    """,
    """
    INSERT INTO signal_outbox (
        signal_id, kind, strategy_id, symbol, side, amount_quote, payload, trace_id, valid_until, state,
        owner, lease_until, created_at, published_at
    )
    SELECT
        gen_random_uuid(), 'entry', 'momentum', 'BTCUSDT', 'buy', 10, repeat('x', 800), 't', at, 'published',
        'one', at, at, at
    FROM generate_series(1, 20000) n, LATERAL (SELECT now() - make_interval(mins => n) AS at) past
    """,
    """
    INSERT INTO position_lifecycles (
        lifecycle_id, symbol, side, opened_at, strategy_id, entry_price, size, peak_price, newest_event_at,
        closed_at
    )
    SELECT
        gen_random_uuid(), 'S' || n % 40 || 'USDT', 'long', at, 'momentum', 100, 1, 100, at,
        CASE WHEN n > 40 THEN at END
    FROM generate_series(1, 20000) n, LATERAL (SELECT now() - make_interval(mins => n) AS at) past
    """,
)


@pytest.fixture
async def engine(database_url):
    connection = await asyncpg.connect(database_url)
    for statement in _YEARS:
        await connection.execute(statement)
    await connection.close()
    await seed(database_url, factor=0.1)
    one = create_engine(
        DatabaseSettings(database_url=database_url, database_statement_timeout_ms=5_000), application="plans"
    )
    yield one
    await one.dispose()


def lists():
    for state, queue in itertools.product((None, "open", "replayed"), (None, "features.live", "none")):
        yield (
            f"dead letters {state} of {queue}",
            lambda c, state=state, queue=queue: dead_letters.letters(c, state=state, queue=queue, **PAGE),
        )
    for action, subject, actor in itertools.product(
        (None, "activate", "none"), (None, "version:v7", "none"), (None, "actor 3", "none")
    ):
        filters = {"action": action, "subject": subject, "actor": actor}
        yield (
            f"actions {filters}",
            lambda c, filters=filters: audit.actions(c, **filters, before=15_000, limit=101),
        )
    for strategy_id, state in itertools.product(
        (None, "momentum", "none"), (None, "rejected", "failed", "running")
    ):
        yield (
            f"runs {state} of {strategy_id}",
            lambda c, strategy_id=strategy_id, state=state: trainings.runs(
                c, strategy_id=strategy_id, state=state, **PAGE
            ),
        )
    for only_open in (True, False):
        yield (
            f"alerts {only_open}",
            lambda c, only_open=only_open: alerts.recent_alerts(c, only_open=only_open),
        )
    for scope in (None, "strategy:s3", "strategy:none"):
        yield f"states of {scope}", lambda c, scope=scope: trading_states.state_changes(c, scope, 100)


def others():
    for strategy_id in (None, "momentum", "none"):
        yield (
            f"last ends of {strategy_id}",
            lambda c, strategy_id=strategy_id: trainings.last_finished(c, strategy_id),
        )
        for days in (1, 365):
            since = NOW - timedelta(days=days)
            yield (
                f"the first result of {strategy_id} in {days} days",
                lambda c, since=since, strategy_id=strategy_id: figures.first_result(
                    c, since, strategy_id=strategy_id
                ),
            )
        yield (
            f"equity of {strategy_id}",
            lambda c, strategy_id=strategy_id: figures.equity(
                c, NOW - timedelta(days=3), timedelta(hours=1), strategy_id=strategy_id
            ),
        )
        yield (
            f"skips of {strategy_id}",
            lambda c, strategy_id=strategy_id: figures.skips_over_time(
                c, NOW - timedelta(hours=24), timedelta(minutes=6), strategy_id=strategy_id
            ),
        )
    day = NOW - timedelta(days=1)
    yield "open letters", dead_letters.open_letters
    yield "unfinished runs", training_runs.unfinished
    yield "a version's activations", lambda c: versions.activations_of(c, _Named())
    yield "modes", lambda c: modes.mode_changes(c, "s3", 100)
    for filters in ({}, {"symbol": "BTCUSDT"}, {"strategy_id": "momentum"}):
        wanted = {"symbol": None, "strategy_id": None} | filters
        yield f"skips in sum of {filters}", lambda c, wanted=wanted: outcomes.skips(c, day, **wanted)
    yield "bars", lambda c: outcomes.bars(c, "BTCUSDT", day, NOW, 1441)
    yield "delays", lambda c: processing_delay(c, day)
    yield "health", fleet_health.fleet_health
    yield "news", lambda c: news.recent(c, None)
    yield "marks", lambda c: figures.marks(c, "BTCUSDT", day, 500)
    yield "watched", lambda c: figures.watched(c, "S3USDT", day, 100)


class _Named:
    strategy_id = "s3"
    version = "v3"


async def test_no_question_about_operations_reads_a_table_that_grows_whole(engine):
    questions = [*lists(), *others()]

    whole = {name: await read_whole(engine, ask) - SMALL for name, ask in questions}

    assert len(whole) > 60
    assert {name: tables for name, tables in whole.items() if tables} == {}


async def test_a_strategy_without_a_result_is_not_looked_for_among_all(engine):
    def ask(connection):
        return figures.first_result(connection, NOW - timedelta(days=365), strategy_id="idle")

    assert "idx_execution_events_executed_at" not in await indexes_used(engine, ask)
