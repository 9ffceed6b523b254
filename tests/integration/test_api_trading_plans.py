"""Every question about trading is answered by an index, on a database of months of it."""

import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from tests.integration.plans import indexes_used, read_whole
from tests.integration.seeded import seed

from api.core.pages import Cursor, Window
from api.queries import executions, performance, positions, signals
from common.database import create_engine
from common.settings import DatabaseSettings

LARGE = {"trading_signals", "execution_events", "position_lifecycles"}
NOW = datetime.now(UTC)
MONTH = {"start": NOW - timedelta(days=30), "end": NOW}
STRATEGIES = (None, "momentum", "unknown")
SYMBOLS = (None, "BTCUSDT", "NONEUSDT")
WINDOWS = {
    "the newest": Window(limit=100),
    "of a day": Window(start=NOW - timedelta(days=21), end=NOW - timedelta(days=20), limit=100),
    "of years ago": Window(end=NOW - timedelta(days=2000), limit=1000),
    "before a row": Window(before=Cursor(NOW - timedelta(days=20), UUID(int=7)), limit=1000),
    "before a time": Window(before=Cursor(NOW - timedelta(days=20)), limit=1),
}
_LIFECYCLES = """
INSERT INTO position_lifecycles (
    lifecycle_id, symbol, side, opened_at, strategy_id, entry_price, size, peak_price, newest_event_at,
    closed_at
)
SELECT
    gen_random_uuid(), 'S' || n % 40 || 'USDT', 'long', now() - make_interval(mins => n),
    (ARRAY['momentum', 'reversal'])[1 + n % 2], 100, 1, 100, now(), CASE WHEN n > 40 THEN now() END
FROM generate_series(1, 20000) n
"""


@pytest.fixture
async def engine(database_url):
    connection = await asyncpg.connect(database_url)
    await connection.execute(_LIFECYCLES)
    await connection.close()
    await seed(database_url, factor=0.1, versions=0)
    one = create_engine(
        DatabaseSettings(database_url=database_url, database_statement_timeout_ms=5_000), application="plans"
    )
    yield one
    await one.dispose()


@pytest.fixture
async def rare(engine):
    async with engine.begin() as connection:
        everyday = "SET is_warmup = false, metadata = '{}' WHERE signal_id <> md5('signal 10')::uuid"
        await connection.exec_driver_sql(f"UPDATE trading_signals {everyday}")
        await connection.exec_driver_sql("ANALYZE trading_signals")
    return engine


def lists_of_signals():
    choices = (STRATEGIES, SYMBOLS, (None, "buy"), (None, "entry", "exit"), (None, True, False))
    for (name, window), strategy_id, symbol, side, kind, is_warmup in itertools.product(
        WINDOWS.items(), *choices
    ):
        filters = {
            "strategy_id": strategy_id,
            "symbol": symbol,
            "side": side,
            "kind": kind,
            "is_warmup": is_warmup,
        }
        yield (
            f"signals {name} of {filters}",
            lambda c, window=window, filters=filters: signals.signals(c, window, **filters),
        )


def other_lists():
    for (name, window), strategy_id, symbol in itertools.product(WINDOWS.items(), STRATEGIES, SYMBOLS):
        filters = {"strategy_id": strategy_id, "symbol": symbol}
        yield (
            f"executions {name} of {filters}",
            lambda c, window=window, filters=filters: executions.executions(c, window, **filters),
        )
        for is_open in (True, False):
            yield (
                f"positions {name} of {filters} and {is_open}",
                lambda c, window=window, filters=filters, is_open=is_open: positions.lifecycles(
                    c, window, is_open=is_open, **filters
                ),
            )


def single_questions():
    one = UUID(int=1)
    yield "a signal", lambda c: signals.signal(c, one)
    yield "its fills", lambda c: executions.executions(c, Window(limit=1000), signal_id=one)
    yield "its exits", lambda c: signals.exits_of(c, "BTCUSDT", one, NOW - timedelta(days=1))
    yield "open positions", lambda c: positions.open_count(c, "momentum")
    for granularity, days in (("hour", 1), ("day", 7), ("week", 7)):
        span = {"start": NOW - timedelta(days=days), "end": NOW}
        for ask in (performance.results_by_period, performance.course_by_period):
            yield (
                f"{ask.__name__} by {granularity}",
                lambda c, ask=ask, granularity=granularity, span=span: ask(
                    c, "momentum", granularity, **span
                ),
            )
    yield "fees", lambda c: performance.fees_paid(c, "momentum", start=NOW - timedelta(days=7), end=NOW)


async def test_no_list_and_no_question_about_trading_reads_a_large_table_whole(engine):
    questions = [*lists_of_signals(), *other_lists(), *single_questions()]

    whole = {name: await read_whole(engine, ask) & LARGE for name, ask in questions}

    assert len(whole) > 500
    assert {name: tables for name, tables in whole.items() if tables} == {}


@pytest.mark.parametrize(
    ("filters", "index"),
    [({"kind": "exit"}, "idx_trading_signals_exits"), ({"is_warmup": True}, "idx_trading_signals_warmup")],
)
async def test_what_is_rare_among_signals_is_not_searched_for_in_all_of_them(rare, filters, index):
    def ask(connection):
        return signals.signals(connection, Window(limit=10), **filters)

    assert await indexes_used(rare, ask) == {index}
