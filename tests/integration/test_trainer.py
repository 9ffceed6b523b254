"""Trainings against a real database, broker and child process: every run ends once, and says why."""

import asyncio
import io
import json
import os
import signal
from contextlib import suppress
from uuid import uuid4

import aio_pika
import asyncpg
import msgspec
import polars as pl
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from tests.integration.building_feature_service import serving
from tests.integration.trainers import Trainer, child_of, seen, start_trainer
from tests.processes import runs as lives
from tests.unit.trainer import market_files

from common import artifacts, bus, model_registry, topology, training_runs
from common.messages import DatasetReady, VersionActivated
from common.model_directory import ModelDirectory
from common.training_runs import State
from trainer import handlers, runs
from trainer.builds import Builds
from trainer.settings import Settings

ROWS = (3000, 1000, 1000)
EDGE = 0.25


def parquet(frame):
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


@pytest.fixture(scope="module")
def splits():
    """Built once: a market that pays to know."""
    return {name: parquet(frame) for name, frame in market_files.frames(ROWS, edge=EDGE).items()}


@pytest.fixture
async def platform(splits):
    async with serving() as service:
        service.splits = dict(splits)
        yield service


@pytest.fixture
def settings(database_url, amqp_url, platform, tmp_path):
    return Settings(
        database_url=SecretStr(database_url),
        rabbitmq_url=SecretStr(amqp_url),
        database_statement_timeout_ms=2000,
        feature_service_host="127.0.0.1",
        feature_service_port=platform.port,
        feature_service_timeout_seconds=0.3,
        feature_service_dataset_build_timeout_seconds=20,
        feature_service_dataset_poll_interval_seconds=0.1,
        feature_service_dataset_storage_path=tmp_path / "datasets",
        model_storage_path=tmp_path / "models",
        model_prediction_horizon_seconds=2,
        model_classification_threshold=0.001,
        model_promotion_policy="honest",
        model_promotion_min_test_rows=100,
        trading_strategies=("momentum",),
        trading_symbols=("BTCUSDT",),
    )


@pytest.fixture
async def trainer(settings):
    one = Trainer(settings)
    handlers.subscribe(one.broker, one.builds)
    await bus.connect(one.broker, topology.DATASET_READY)
    yield one
    await one.close()


@pytest.fixture
async def rows(database_url):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_a_strategy_without_a_version_gets_one_that_is_proven_and_active(trainer, settings):
    run = await trainer.until(State.SUCCEEDED, State.FAILED, State.REJECTED)

    assert (run.state, run.version, run.trigger, run.attempts) == (State.SUCCEEDED, "v1", "bootstrap", 1)
    async with trainer.engine.connect() as connection:
        version = await model_registry.find(connection, "v1")
        active = await model_registry.active_for(connection, "momentum")
        metrics = await model_registry.metrics_of(connection, "v1", dataset_split="test")
    assert version.verdict == "accepted"
    assert version.verdict_sentence.startswith("accepted by the honest policy: test accuracy 0.")
    assert (version.file_path, version.is_active, version.run_id) == ("/models/v1", True, run.run_id)
    assert (active.version, active.epoch, active.sha256) == ("v1", 1, version.sha256)
    by_name = {metric.metric_name: metric.metric_value for metric in metrics}
    assert by_name["accuracy"] - by_name["baseline_accuracy"] == pytest.approx(by_name["lift"], abs=1e-6)
    assert by_name["lift_lower"] > 0
    artifact = artifacts.read_verified(ModelDirectory(settings.model_storage_path), "v1", version.sha256)
    assert artifact.manifest.labels == (-1, 0, 1)
    assert "mid_price" not in artifact.manifest.features
    assert artifact.manifest.feature_registry_version == "candles-1"
    assert list(settings.feature_service_dataset_storage_path.iterdir()) == []


async def test_a_build_is_asked_for_in_both_releases_words(trainer, platform):
    await trainer.until(State.BUILDING)

    (asked,) = platform.builds
    assert asked["target_config"] == {"type": "classification", "horizon": 2, "threshold": 0.001}
    assert asked["feature_registry_version"] == asked["target_registry_version"] == "candles-1"
    assert asked["train_period_end"] == asked["validation_period_start"]
    assert asked["validation_period_end"] == asked["test_period_start"]
    assert all(asked[f"{name}_period_end"].endswith("Z") for name in ("train", "validation", "test"))


async def test_a_new_version_is_announced_with_its_epoch_and_hash(trainer, amqp_url):
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("flotilla.model_activated", "fanout", durable=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange)

        await trainer.until(State.SUCCEEDED)

        async with asyncio.timeout(5):
            message = await queue.get(timeout=5)
    announced = msgspec.json.decode(message.body, type=VersionActivated)
    assert (announced.strategy_id, announced.version, announced.epoch) == ("momentum", "v1", 1)
    assert len(announced.sha256) == 64


async def test_the_silence_of_a_building_feature_service_is_no_failure(trainer, platform):
    await trainer.until(State.BUILDING)

    platform.awake.clear()
    async with asyncio.timeout(10):
        while not (waiting := await trainer.run()).reason:
            await trainer.builds.tick()
            await asyncio.sleep(0.02)
    platform.awake.set()
    run = await trainer.until(State.READY)

    assert waiting.state is State.BUILDING
    assert "does not answer" in waiting.reason
    assert run.reason is None


async def test_only_the_deadline_ends_the_wait_for_a_dataset(trainer, platform, rows):
    platform.status = "building"
    await trainer.until(State.BUILDING)
    await rows.execute("UPDATE training_runs SET dataset_deadline = now() - interval '1 s'")

    run = await trainer.until(State.FAILED)

    assert run.reason.startswith("no dataset within FEATURE_SERVICE_DATASET_BUILD_TIMEOUT_SECONDS")


async def test_an_announced_dataset_is_trained_without_a_poll(trainer, platform, amqp_url):
    platform.status = "building"
    run = await trainer.until(State.BUILDING)
    announced = {"dataset_id": str(run.dataset_id), "symbol": "BTCUSDT", "status": "ready", "trace_id": None}

    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        body = aio_pika.Message(json.dumps(announced).encode())
        await channel.default_exchange.publish(body, routing_key="features.dataset.ready")

    assert (await seen(trainer, State.READY)).run_id == run.run_id


async def test_a_lost_announcement_costs_no_more_than_a_poll(trainer, platform):
    platform.status = "building"
    building = await trainer.until(State.BUILDING)

    platform.status = "ready"  # and nobody says so

    ready = await trainer.until(State.READY)
    assert (ready.run_id, ready.dataset_id) == (building.run_id, building.dataset_id)
    assert len(platform.builds) == 1


async def test_an_announcement_that_nobody_waits_for_changes_nothing(trainer, platform):
    platform.status = "building"
    await trainer.until(State.BUILDING)

    await trainer.builds.on_ready(DatasetReady(dataset_id=uuid4(), symbol="BTCUSDT", status="ready"))

    assert (await trainer.run()).state is State.BUILDING


async def test_a_failed_build_ends_the_run_and_is_not_repeated_at_once(trainer, platform):
    platform.status, platform.error_message = "failed", "Data leakage detected"

    run = await trainer.until(State.FAILED)
    await trainer.schedules.tick()
    await trainer.builds.tick()

    assert "it has no prices" in run.reason
    assert len(platform.builds) == 1


async def test_a_refusing_feature_service_is_named_and_asked_again_later(trainer, platform):
    platform.build_answer = 500
    await trainer.schedules.tick()
    await trainer.builds.tick()
    waiting = await trainer.run()
    platform.build_answer = 202
    await trainer.until(State.BUILDING)

    assert waiting.state is State.REQUESTED
    assert "TIMESTAMPTZ" in waiting.reason
    assert "FEATURE_SERVICE_API_KEY" in waiting.reason


class Faulty:
    """Breaks in a way that nobody foresaw, for one symbol."""

    def __init__(self, features):
        self.features = features

    async def latest(self, symbol):
        if symbol == "ETHUSDT":
            raise LookupError("nobody foresaw this")
        return await self.features.latest(symbol)


async def test_a_request_that_breaks_unforeseen_holds_nobody_up(trainer, settings, platform):
    builds = Builds(settings, trainer.engine, trainer.datasets, Faulty(trainer.features), owner="trainer-1")
    requested = []
    for symbol in ("ETHUSDT", "BTCUSDT"):
        async with trainer.engine.begin() as connection:
            run = await training_runs.request(
                connection,
                strategy_id="momentum",
                symbol=symbol,
                trigger="manual",
                priority="NORMAL",
                trace_id="t",
            )
        requested.append(run.run_id)

    async with asyncio.timeout(10):
        while not platform.builds:
            await builds.tick()

    async with trainer.engine.connect() as connection:
        waits, built = [await training_runs.find(connection, run_id) for run_id in requested]
    assert (waits.state, built.state) == (State.REQUESTED, State.BUILDING)
    assert waits.reason == "LookupError: nobody foresaw this"


async def test_a_dataset_that_vanished_is_built_anew(trainer, platform):
    platform.status = "building"
    await trainer.until(State.BUILDING)

    platform.known.clear()
    async with asyncio.timeout(10):
        while len(platform.builds) < 2:
            await trainer.builds.tick()
            await asyncio.sleep(0.02)

    assert (await trainer.run()).state is State.BUILDING


def without_target(frame):
    return frame.drop("target")


@pytest.mark.parametrize(
    ("split", "change", "reason"),
    [
        ("train", without_target, "train has no column target"),
        ("validation", without_target, "validation has no column target"),
        ("train", lambda frame: frame.with_columns(target=pl.lit(0)), "train has one class only, 0"),
        ("train", lambda frame: frame[:500], "train has 500 rows, 1000 are needed"),
    ],
)
async def test_an_unfit_dataset_ends_its_run_as_rejected_with_the_reason(
    trainer, platform, splits, split, change, reason
):
    platform.splits[split] = parquet(change(pl.read_parquet(io.BytesIO(splits[split]))))

    run = await trainer.until(State.REJECTED, State.SUCCEEDED, State.FAILED)

    assert run.state is State.REJECTED
    assert run.reason.startswith(reason)
    assert run.figures["rejection"]["rows"] > 0
    async with trainer.engine.connect() as connection:
        assert await model_registry.versions(connection) == ([], 0)


async def test_a_version_without_test_rows_is_judged_on_validation_and_says_so(trainer, platform):
    platform.splits["test"] = None

    await trainer.until(State.SUCCEEDED)

    async with trainer.engine.connect() as connection:
        version = await model_registry.find(connection, "v1")
        assert await model_registry.metrics_of(connection, "v1", dataset_split="test") == []
    assert "validation stands in for the missing test" in version.verdict_sentence
    assert version.is_active is (version.verdict == "accepted")


async def test_a_manual_training_meets_the_active_version_on_the_same_rows(trainer):
    await trainer.until(State.SUCCEEDED)
    async with trainer.engine.begin() as connection:
        await training_runs.request(
            connection,
            strategy_id="momentum",
            symbol="BTCUSDT",
            trigger="manual",
            priority="HIGH",
            trace_id="by-hand",
        )

    await trainer.until(State.REQUESTED, State.BUILDING)
    run = await trainer.until(State.SUCCEEDED)

    async with trainer.engine.connect() as connection:
        version = await model_registry.find(connection, run.version)
    champion = version.evidence["champion"]
    assert (run.version, run.trigger) == ("v2", "manual")
    assert champion["version"] == "v1"
    assert champion["accuracy"] == pytest.approx(version.evidence["accuracy"]), (
        "the same data, the same model"
    )
    assert version.verdict == "accepted"


async def test_an_operators_activation_meanwhile_is_not_overruled(trainer, rows):
    await trainer.until(State.READY)
    training = asyncio.create_task(trainer.training.tick())
    await child_of(await trainer.run())

    await rows.execute(
        "INSERT INTO activations VALUES ('momentum', 1, 'v7', repeat('a', 64), 'operator', 'mine')"
    )
    await training

    async with trainer.engine.connect() as connection:
        version = await model_registry.find(connection, "v1")
        active = await model_registry.active_for(connection, "momentum")
    assert active.version == "v7"
    assert (version.verdict, version.is_active) == ("accepted", False)
    assert "; not activated: strategy momentum stands at epoch 1, not 0" in version.verdict_sentence


async def test_a_killed_fit_is_begun_again_and_gives_one_version(trainer, rows):
    await trainer.until(State.READY)
    training = asyncio.create_task(trainer.training.tick())
    os.kill(await child_of(await trainer.run()), signal.SIGKILL)
    await training
    interrupted = await trainer.run()
    await rows.execute("UPDATE training_runs SET lease_until = NULL")

    run = await trainer.until(State.SUCCEEDED)

    assert interrupted.state is State.READY
    assert interrupted.reason == "the fit ended with -9: it said nothing"
    assert (run.attempts, run.version) == (2, "v1")


async def test_a_fit_that_always_dies_is_given_up(trainer, rows):
    await trainer.until(State.READY)
    await rows.execute("UPDATE training_runs SET attempts = 2")
    training = asyncio.create_task(trainer.training.tick())
    os.kill(await child_of(await trainer.run()), signal.SIGKILL)
    await training

    run = await trainer.run()

    assert run.state is State.FAILED
    assert run.reason == "the fit ended with -9: it said nothing (attempt 3)"


async def test_a_stopped_trainer_hands_its_run_back_and_ends_the_fit(trainer):
    await trainer.until(State.READY)
    training = asyncio.create_task(trainer.training.tick())
    child = await child_of(await trainer.run())

    training.cancel()
    with suppress(asyncio.CancelledError):
        await training

    run = await trainer.run()
    assert not lives(child)
    assert (run.state, run.attempts, run.owner) == (State.READY, 0, None)


async def test_a_cancelled_run_stops_its_fit_and_stores_nothing(trainer, rows, monkeypatch):
    monkeypatch.setattr("trainer.training.HEART_BEAT_S", 0.05)
    await trainer.until(State.READY)
    training = asyncio.create_task(trainer.training.tick())
    child = await child_of(await trainer.run())

    await rows.execute("UPDATE training_runs SET state = 'cancelled', finished_at = now()")
    await training

    assert not lives(child)
    assert await rows.fetchval("SELECT count(*) FROM model_versions") == 0


async def test_a_training_longer_than_allowed_is_ended(settings, platform):
    platform.delivers.clear()
    hasty = Trainer(settings.model_copy(update={"model_training_max_duration_seconds": 0.2}))

    run = await hasty.until(State.FAILED)

    await hasty.close()
    assert run.reason == "longer than 0.2 s (MODEL_TRAINING_MAX_DURATION_SECONDS)"


async def test_a_killed_trainer_loses_nothing(trainer, settings, platform, rows):
    process = await start_trainer(settings)
    try:
        run = await seen(trainer, State.RUNNING)
        child = await child_of(run)
    finally:
        process.kill()
        await process.wait()
    await rows.execute("UPDATE training_runs SET lease_until = now() - interval '1 s'")

    finished = await trainer.until(State.SUCCEEDED)

    assert finished.run_id == run.run_id
    assert (finished.attempts, finished.version) == (2, "v1")
    assert len(platform.builds) == 1
    async with asyncio.timeout(10):
        while lives(child):
            await asyncio.sleep(0.05)


async def test_a_trainer_that_was_taken_over_stores_nothing(trainer, rows):
    await trainer.until(State.READY)
    training = asyncio.create_task(trainer.training.tick())
    await child_of(await trainer.run())

    await rows.execute("UPDATE training_runs SET fence = fence + 1")
    await training

    assert await rows.fetchval("SELECT count(*) FROM model_versions") == 0
    assert (await trainer.run()).state is State.RUNNING


async def test_of_trainers_at_once_one_takes_a_run_and_the_others_go_without(trainer):
    await trainer.until(State.READY)

    together = asyncio.Barrier(6)

    async def take(owner):
        async with trainer.engine.begin() as connection:
            await connection.execute(text("SELECT 1"))
            await together.wait()
            return await runs.take_ready(connection, owner=owner, max_parallel=3)

    taken = await asyncio.gather(*(take(f"trainer-{number}") for number in range(6)))

    assert [run.state for run in taken if run] == [State.RUNNING]


async def test_a_run_whose_trainers_all_went_silent_is_given_up(trainer, rows):
    def take(connection):
        return runs.take_ready(connection, owner="silent", max_parallel=3)

    await trainer.until(State.READY)
    for attempt in (1, 2, 3):
        async with trainer.engine.begin() as connection:
            assert (await take(connection)).attempts == attempt
        await rows.execute("UPDATE training_runs SET lease_until = now() - interval '1 s'")
        async with trainer.engine.begin() as connection:
            await runs.recover(connection)

    run = await trainer.run()
    assert run.state is State.FAILED
    assert run.reason == "its trainer went silent, attempt 3 of 3"
    assert run.finished_at


async def test_what_crashes_left_on_disk_is_swept(trainer, settings):
    needed = (await trainer.until(State.BUILDING)).run_id
    datasets = settings.feature_service_dataset_storage_path
    of_the_feature_service = str(uuid4())  # it names a dataset's directory so, perhaps on the same volume
    for name in (f"training-{needed}", f"training-{uuid4()}", of_the_feature_service):
        (datasets / name).mkdir(parents=True)
    archive = settings.model_storage_path / "archive"
    for name in (".tmp-v1-ab", "v1"):
        (archive / name).mkdir(parents=True)
        os.utime(archive / name, (0, 0))

    await trainer.training.sweep()

    assert {entry.name for entry in datasets.iterdir()} == {f"training-{needed}", of_the_feature_service}
    assert [entry.name for entry in archive.iterdir()] == ["v1"]
