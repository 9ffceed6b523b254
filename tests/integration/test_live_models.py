"""Served versions over time: failures and retries, what replicas report, what predictions were worth."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest
from pydantic import SecretStr
from sqlalchemy import event as sqlalchemy_event
from tests.integration.platform_rows import Platform
from tests.integration.registered_models import Registry

from common.alerts import recent_alerts
from common.core.ids import entry_signal_id
from common.database import create_engine
from common.messages import FeatureVector, MarketSnapshot, TradingSignal
from common.model_registry import metrics_of
from common.served_versions import served
from common.settings import DatabaseSettings
from common.trading_log import append_signal
from inference.contributions import MOST_ROUNDS, Contributions
from inference.live_quality import LiveQuality
from inference.models import ServedModels, retry_pause_s
from inference.replicas import Replica

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
async def engine(database_url):
    made = create_engine(
        DatabaseSettings(database_url=SecretStr(database_url), database_statement_timeout_ms=2000),
        application="test",
    )
    yield made
    await made.dispose()


@pytest.fixture
def registry(engine, tmp_path):
    return Registry(engine, tmp_path)


@pytest.fixture
def models(engine, registry):
    return ServedModels(("momentum",), registry.store, engine)


def corrupt(registry, version):
    """Returns how to repair it."""
    path = registry.root / version / "model.onnx"
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    return lambda: path.write_bytes(kept)


async def reports(engine):
    async with engine.connect() as connection:
        return await served(connection)


async def open_alerts(engine):
    async with engine.connect() as connection:
        return [(each.kind, each.scope) for each in await recent_alerts(connection, only_open=True)]


def vector(at_s, symbol="BTCUSDT"):
    return FeatureVector(
        timestamp=START + timedelta(seconds=at_s),
        symbol=symbol,
        features={"mid_price": 100.0},
        feature_registry_version="1.0.0",
    )


def test_a_version_that_cannot_be_loaded_is_tried_ever_more_rarely():
    pauses = [retry_pause_s(attempts) for attempts in (1, 2, 3, 5, 6, 7, 10_000)]

    assert pauses == [10, 20, 40, 160, 300, 300, 300]


async def test_a_failed_version_waits_for_its_retry_but_a_new_activation_is_tried_at_once(
    models, registry, engine
):
    await registry.activate(await registry.train())
    await models.refresh()
    second = await registry.train()
    repair = corrupt(registry, second)

    await registry.activate(second)
    await models.refresh()
    since = models.of("momentum").since
    repair()
    await models.refresh()

    assert models.of("momentum").state == "lagging"
    assert models.of("momentum").loaded.model.version == "v1"
    assert await open_alerts(engine) == [("version_refused", "strategy:momentum")]

    await registry.activate(second)
    await models.refresh()

    assert models.of("momentum").state == "serving"
    assert models.of("momentum").loaded.model.version == second
    assert models.of("momentum").since > since
    assert await open_alerts(engine) == []


async def test_a_restarted_worker_that_can_serve_ends_the_alert_of_its_forerunner(models, registry, engine):
    version = await registry.train()
    repair = corrupt(registry, version)
    await registry.activate(version)
    await models.refresh()
    assert models.of("momentum").state == "unavailable"
    assert await open_alerts(engine) == [("version_refused", "strategy:momentum")]
    repair()

    await ServedModels(("momentum",), registry.store, engine).refresh()

    assert await open_alerts(engine) == []


async def test_going_back_to_the_version_that_still_serves_loads_nothing(models, registry):
    first = await registry.train()
    await registry.activate(first)
    await models.refresh()
    loaded = models.of("momentum").loaded
    second = await registry.train()
    corrupt(registry, second)
    corrupt(registry, first)
    await registry.activate(second)
    await models.refresh()

    await registry.activate(first)
    await models.refresh()

    assert models.of("momentum").loaded is loaded
    assert models.of("momentum").state == "serving"


async def test_a_replica_reports_what_serves_and_takes_it_back_when_it_stops(models, registry, engine):
    replica = Replica("inference@one:1", models, engine)
    seen = []

    async def report():
        await replica.beat()
        [row] = await reports(engine)
        assert row.is_alive
        seen.append((row.state, row.version, row.epoch, row.problem and row.problem[-40:]))
        return row

    await report()
    await models.refresh()
    await report()
    await registry.activate(await registry.train())
    await models.refresh()
    serving = await report()
    assert serving.since == models.of("momentum").since
    assert serving.sha256 == models.of("momentum").loaded.model.sha256
    second = await registry.train()
    corrupt(registry, second)
    await registry.activate(second)
    await models.refresh()
    await report()
    await replica.leave()

    unread = "the registry has not been read yet"
    refused = "onnx is not the one that was registered"
    assert seen == [
        ("unavailable", None, 0, unread),
        ("warm_up", None, 0, None),
        ("serving", "v1", 1, None),
        ("lagging", "v1", 2, f" model.{refused}"[-40:]),
    ]
    assert await reports(engine) == []


async def test_a_replica_that_died_is_shown_as_such_and_forgotten_after_an_hour(models, engine, database_url):
    await models.refresh()
    for name in ("gone", "silent", "alive"):
        await Replica(name, models, engine).beat()
    platform = Platform(database_url)
    for name, minutes in (("gone", 61), ("silent", 1)):
        await platform.execute(
            "UPDATE served_versions SET heart_beat_at = now() - $2 * interval '1 minute' WHERE replica = $1",
            name,
            minutes,
        )

    await Replica("alive", models, engine).beat()

    assert {(row.replica, row.is_alive) for row in await reports(engine)} == {
        ("silent", False),
        ("alive", True),
    }


async def test_rows_of_a_strategy_that_a_replica_runs_no_more_are_removed(registry, engine):
    both = ServedModels(("momentum", "reversion"), registry.store, engine)
    await Replica("one", both, engine).beat()

    await Replica("one", ServedModels(("reversion",), registry.store, engine), engine).beat()

    assert [row.strategy_id for row in await reports(engine)] == ["reversion"]


async def test_a_replica_without_its_database_stops_all_the_same(models, engine, database_url):
    gone = create_engine(
        DatabaseSettings(database_url=SecretStr(database_url.rsplit("/", 1)[0] + "/nowhere")),
        application="test",
    )

    await Replica("one", models, gone).leave()

    await gone.dispose()


async def test_contributions_are_added_to_the_signal_once_it_is_recorded(
    models, registry, engine, database_url
):
    await registry.activate(await registry.train())
    await models.refresh()
    signal_id = entry_signal_id("momentum", "BTCUSDT", START)
    contributions = Contributions(engine)

    contributions.record(signal_id, "buy", models.of("momentum").loaded, (0.1, 0.2, 0.7))
    contributions.record(uuid4(), "buy", models.of("momentum").loaded, (0.1, 0.2, 0.7))
    await contributions.store()
    async with engine.begin() as connection:
        await append_signal(connection, _signal(signal_id))
    await contributions.store()

    [row] = await Platform(database_url).rows("SELECT metadata FROM trading_signals")
    metadata = json.loads(row["metadata"])
    assert metadata["reasoning"] == "because"
    assert metadata["contributions"]["top"] == [
        {"feature": "p_up", "value": 0.7, "median": 0.3, "change": 0.4}
    ]
    assert contributions.waiting == 1
    for _ in range(MOST_ROUNDS):
        await contributions.store()
    assert contributions.waiting == 0


async def test_replicas_add_up_to_the_figures_of_one(models, registry, engine):
    version = await registry.train(horizon_s=2.0, label_threshold=0.001)
    await registry.activate(version)
    await models.refresh()
    model = models.of("momentum").loaded.model
    stream = [(at_s, 100.0 + (at_s // 3) % 4) for at_s in range(120)]
    answers = [(0.2, 0.3, 0.5), (0.6, 0.3, 0.1), (0.1, 0.8, 0.1)]
    alone, *replicas = (LiveQuality(engine) for _ in range(4))

    for number, (at_s, price) in enumerate(stream):
        # All see the market, and each vector is decided on by one of them.
        for quality in (alone, *replicas):
            quality.observe(vector(at_s), price)
        for quality in (alone, replicas[number % 3]):
            quality.noted(model, vector(at_s), answers[number % 3])
        if number % 10 == 9:
            await asyncio.gather(*(quality.flush() for quality in replicas))
    [(key, expected)] = alone.pending.items()
    await asyncio.gather(*(quality.flush() for quality in replicas))
    assert key == (version, START)

    async with engine.connect() as connection:
        metrics = await metrics_of(connection, version, dataset_split="live")
    found = {each.metric_name: each.metric_value for each in metrics}
    # The last two still wait for the end of their horizon.
    assert expected["predictions"] == expected["scored"] == 118
    assert found == {
        "coverage": 1.0,
        "accuracy": pytest.approx(_right(expected) / 118),
        "log_loss": pytest.approx(expected["log_loss"] / 118),
        "brier": pytest.approx(expected["brier"] / 118),
    }
    for each in metrics:
        assert each.metric_type == "classification"
        assert each.evaluation_dataset_size == 118
        assert each.evaluated_at == START + timedelta(hours=1)
        assert each.metadata["hour"] == START.isoformat()
        assert sum(each.metadata["confusion"].values()) == 118


async def test_sums_that_cannot_be_stored_wait_for_the_next_flush(models, registry, engine, database_url):
    await registry.activate(await registry.train())
    await models.refresh()
    model = models.of("momentum").loaded.model
    quality = LiveQuality(engine)
    quality.observe(vector(0), 100.0)
    quality.noted(model, vector(0), (0.2, 0.3, 0.5))
    quality.observe(vector(2), 101.0)
    platform = Platform(database_url)

    await platform.execute("ALTER TABLE live_sums RENAME TO live_sums_hidden")
    await quality.flush()
    assert quality.pending[model.version, START]["scored"] == 1
    await platform.execute("ALTER TABLE live_sums_hidden RENAME TO live_sums")
    await quality.flush()
    await quality.flush()

    assert quality.pending == {}
    rows = await platform.rows("SELECT value FROM live_sums WHERE name = 'scored'")
    assert [row["value"] for row in rows] == [1.0]


async def test_a_thousand_versions_share_their_transactions(models, registry, engine, database_url):
    version = await registry.train(label_threshold=0.001)
    await registry.activate(version)
    await models.refresh()
    model = models.of("momentum").loaded.model
    quality = LiveQuality(engine)
    others = [msgspec.structs.replace(model, version=f"unregistered-{n}") for n in range(120)]
    quality.observe(vector(0), 100.0)
    for each in (model, *others):
        quality.noted(each, vector(0), (0.2, 0.3, 0.5))
    quality.observe(vector(2), 101.0)
    platform, begun = Platform(database_url), 0

    def count(*_):
        nonlocal begun
        begun += 1

    sqlalchemy_event.listen(engine.sync_engine, "begin", count)
    await quality.flush()

    assert begun == 3
    assert quality.pending == {}
    rows = await platform.rows("SELECT version, value FROM live_sums WHERE name = 'scored'")
    assert {row["version"]: row["value"] for row in rows} == {each.version: 1.0 for each in (model, *others)}
    async with engine.connect() as connection:
        metrics = await metrics_of(connection, version, dataset_split="live")
    assert {each.metric_name for each in metrics} == {"coverage", "accuracy", "log_loss", "brier"}


async def test_a_regressions_live_figures_have_their_own_names(models, registry, engine):
    version = await registry.train()
    await registry.activate(version)
    await models.refresh()
    model = msgspec.structs.replace(
        models.of("momentum").loaded.model, task="regression", labels=(), label_threshold=0.0
    )
    quality = LiveQuality(engine)
    quality.observe(vector(0), 100.0)
    quality.noted(model, vector(0), (0.03,))
    quality.observe(vector(2), 101.0)
    quality.noted(model, vector(2), (0.01,))
    quality.observe(vector(10), 101.0)  # too late for the second one
    await quality.flush()

    async with engine.connect() as connection:
        metrics = await metrics_of(connection, version, metric_type="regression", dataset_split="live")
    assert {each.metric_name: each.metric_value for each in metrics} == {
        "coverage": 0.5,
        "mse": pytest.approx(0.0004),
        "rmse": pytest.approx(0.02),
        "directional_accuracy": 1.0,
    }


def _right(sums):
    return sum(sums.get(f"confusion:{label}:{label}", 0) for label in (-1, 0, 1))


def _signal(signal_id):
    return TradingSignal(
        signal_id=signal_id,
        signal_type="buy",
        symbol="BTCUSDT",
        amount=100.0,
        confidence=0.7,
        timestamp=START,
        strategy_id="momentum",
        market_data_snapshot=MarketSnapshot(price=100.0),
        model_version="v1",
        metadata={"reasoning": "because"},
    )
