"""Every question about versions is answered by an index, on a database of thousands of them."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.plans import read_whole
from tests.integration.seeded import NEWEST, seed

from api.queries import metrics, versions
from common import model_registry
from common.database import create_engine
from common.settings import DatabaseSettings

LARGE = {"model_versions", "model_quality_metrics", "live_sums"}
NOW = datetime.now(UTC)
PAGE = {"limit": 20, "offset": 40}


@pytest.fixture
async def engine(database_url):
    await seed(database_url, factor=0.2, executions=0, signals=0)
    one = create_engine(DatabaseSettings(database_url=database_url), application="plans")
    yield one
    await one.dispose()


def questions():
    for sort in ("-trained_at", "trained_at", "-created_at", "created_at", "-version", "version"):
        yield f"sorted by {sort}", lambda c, sort=sort: model_registry.versions(c, sort=sort, **PAGE)
    for filters in (
        {"strategy_id": "momentum"},
        {"is_active": True},
        {"model_type": "xgboost"},
        {"strategy_id": "momentum", "is_active": False, "model_type": "xgboost"},
    ):
        yield f"of {filters}", lambda c, filters=filters: model_registry.versions(c, **filters, **PAGE)
    yield "one", lambda c: model_registry.find(c, NEWEST)
    yield "its newest figures", lambda c: metrics.newest(c, [NEWEST])
    yield "the active ones' figures", lambda c: metrics.newest(c, [NEWEST, "v2", "v3"], ["accuracy"])
    yield "its live figures", lambda c: model_registry.metrics_of(c, NEWEST, dataset_split="live", limit=10)
    yield "counts", versions.counts
    yield "verdicts of a page", lambda c: versions.verdict_sentences(c, [NEWEST, "v2", "v3"])
    yield "live confusion", lambda c: versions.live_confusion(c, NEWEST)
    for names in ([], ["accuracy"]):
        yield (
            f"a series of {names}",
            lambda c, names=names: metrics.series(
                c,
                NEWEST,
                "hour",
                start=NOW - timedelta(days=7),
                end=NOW,
                names=names,
                split=None,
                limit=1000,
            ),
        )


async def test_no_question_reads_a_large_table_whole(engine):
    whole = {name: await read_whole(engine, ask) & LARGE for name, ask in questions()}

    assert {name: tables for name, tables in whole.items() if tables} == {}


async def test_a_question_without_an_index_would_be_seen(engine):
    def by_sentence(connection):
        return connection.exec_driver_sql("SELECT 1 FROM model_versions WHERE verdict_sentence = 'x'")

    assert await read_whole(engine, by_sentence) == {"model_versions"}
