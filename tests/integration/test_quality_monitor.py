"""The quality monitor on a real database: what it looks at, what it says, and what it asks for."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from common import model_registry as registry
from common import training_runs
from common.alerts import recent_alerts
from common.database import create_engine
from common.model_registry import NewMetric, NewVersion
from trainer.quality_monitor import DEGRADED, QualityMonitor
from trainer.settings import Settings

NOW = datetime.now(UTC)


@pytest.fixture
def settings(database_url):
    return Settings(
        database_url=SecretStr(database_url),
        database_statement_timeout_ms=5000,
        trading_strategies=("momentum",),
        trading_symbols=("BTCUSDT",),
        quality_monitor_min_live_rows=500,
    )


@pytest.fixture
async def engine(settings):
    one = create_engine(settings, application="monitor-test")
    yield one
    await one.dispose()


async def active_version(engine, *, accuracy=0.6, split="test", symbol="ETHUSDT"):
    async with engine.begin() as connection:
        version = await registry.next_version(connection)
        new = NewVersion(
            version=version,
            strategy_id="momentum",
            model_type="xgboost",
            sha256="ab" * 32,
            trained_at=NOW,
            training_duration_seconds=1,
            training_dataset_size=1000,
            training_config={"symbol": symbol} if symbol else {},
            verdict="accepted",
            verdict_sentence="accepted",
            evidence={},
            run_id=uuid4(),
        )
        await registry.add(connection, new, [figure(accuracy, split)])
        await registry.activate(connection, version, strategy_id="momentum", actor="test", reason="test")
    return version


def figure(accuracy, split):
    return NewMetric(
        metric_name="accuracy",
        metric_value=accuracy,
        metric_type="classification",
        dataset_split=split,
        evaluation_dataset_size=3000,
    )


async def live(engine, version, *hours):
    """`hours` are (accuracy, rows), the newest first."""
    async with engine.begin() as connection:
        for ago, (accuracy, rows) in enumerate(hours):
            await connection.execute(
                text(
                    "INSERT INTO model_quality_metrics (model_version_id, metric_name, metric_value,"
                    " metric_type, evaluated_at, evaluation_dataset_size, metadata)"
                    " SELECT id, 'accuracy', :accuracy, 'classification', :at, :rows,"
                    """ '{"dataset_split": "live"}' FROM model_versions WHERE version = :version"""
                ),
                {
                    "accuracy": accuracy,
                    "rows": rows,
                    "version": version,
                    "at": (NOW - timedelta(hours=ago)).replace(tzinfo=None),
                },
            )


async def found(engine):
    async with engine.connect() as connection:
        alerts = await recent_alerts(connection, only_open=True)
        return [alert for alert in alerts if alert.kind == DEGRADED], await training_runs.recent(connection)


async def test_a_version_worse_than_promised_raises_an_alert_and_a_critical_training(engine, settings):
    version = await active_version(engine)
    await live(engine, version, (0.5, 300), (0.52, 300), (0.9, 10_000))
    monitor = QualityMonitor(settings, engine)

    await monitor.tick()
    await monitor.tick()

    (alert,), (run,) = await found(engine)
    assert (alert.scope, alert.sightings) == ("strategy:momentum", 2)
    assert alert.sentence.startswith(
        f"{version} is right in 51.0% of 600 live rows, 60.0% of 3,000 test rows"
    )
    assert alert.figures["newest_by"] == "live"
    assert alert.figures["lost"] == pytest.approx(0.09)
    assert (run.trigger, run.priority, run.symbol) == ("degradation", "CRITICAL", "ETHUSDT")
    async with engine.connect() as connection:
        assert (await registry.active_for(connection, "momentum")).version == version, "no mode is changed"


@pytest.mark.parametrize("hours", [(), ((0.1, 499),), ((0.56, 600),), ((0.6, 500), (0.1, 9000))])
async def test_a_version_that_keeps_its_promise_or_was_scored_too_little_is_left_alone(
    engine, settings, hours
):
    await live(engine, await active_version(engine), *hours)

    await QualityMonitor(settings, engine).tick()

    assert await found(engine) == ([], [])


@pytest.mark.parametrize("split", ["test", "validation"])
async def test_without_live_figures_the_newest_other_figure_counts(engine, settings, split):
    version = await active_version(engine, split=split)
    async with engine.begin() as connection:
        await registry.add_metrics(connection, version, [figure(0.5, split)])

    await QualityMonitor(settings, engine).tick()

    (alert,), _ = await found(engine)
    assert (alert.figures["newest_by"], alert.figures["newest"]) == (split, 0.5)


async def test_a_promise_made_on_validation_is_kept_to_when_a_test_exists_later(engine, settings):
    version = await active_version(engine, accuracy=0.7, split="validation")
    async with engine.begin() as connection:
        await registry.add_metrics(connection, version, [figure(0.55, "test")])

    await QualityMonitor(settings, engine).tick()

    (alert,), _ = await found(engine)
    assert (alert.figures["promised_by"], alert.figures["promised"]) == ("validation", 0.7)
    assert (alert.figures["newest_by"], alert.figures["newest"]) == ("test", 0.55)


async def test_an_alert_ends_when_the_version_recovers(engine, settings):
    version = await active_version(engine)
    await live(engine, version, (0.4, 600))
    monitor = QualityMonitor(settings, engine)
    await monitor.tick()

    async with engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE model_quality_metrics SET metric_value = 0.6"
                " WHERE metadata->>'dataset_split' = 'live'"
            )
        )
    await monitor.tick()

    assert (await found(engine))[0] == []


async def test_an_alert_ends_when_another_version_is_active(engine, settings):
    await live(engine, await active_version(engine), (0.4, 600))
    monitor = QualityMonitor(settings, engine)
    await monitor.tick()
    (before, _) = await found(engine)

    await active_version(engine)
    await monitor.tick()

    assert len(before) == 1
    assert (await found(engine))[0] == []


async def test_a_training_that_is_under_way_already_is_not_asked_for_twice(engine, settings):
    await live(engine, await active_version(engine, symbol=None), (0.4, 600))
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO training_runs (run_id, strategy_id, symbol, trigger, priority, state, trace_id)"
                " VALUES (gen_random_uuid(), 'momentum', 'BTCUSDT', 'schedule', 'HIGH', 'running', 't')"
            )
        )

    await QualityMonitor(settings, engine).tick()

    (alert,), (run,) = await found(engine)
    assert alert.kind == DEGRADED
    assert run.trigger == "schedule"


async def test_without_an_active_version_there_is_nothing_to_watch(engine, settings):
    await QualityMonitor(settings, engine).tick()

    assert await found(engine) == ([], [])
