"""Trainer processes that are killed, stopped and kept busy: every run ends once and leaves nothing behind."""

import asyncio
import io
import os
import signal
import time
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
from pydantic import SecretStr
from tests.integration.building_feature_service import serving
from tests.integration.trainers import Trainer, child_of, children_with, start_trainer
from tests.processes import runs as lives
from tests.unit.trainer import market_files

from common import model_registry, training_runs
from common.training_runs import State
from sandbox.ports import free_port
from trainer.settings import Settings

EDGE = 0.25
PATIENCE_S = 40


def parquet(rows):
    contents = {}
    for name, frame in market_files.frames(rows, edge=EDGE).items():
        content = io.BytesIO()
        frame.write_parquet(content)
        contents[name] = content.getvalue()
    return contents


@pytest.fixture(scope="module")
def splits():
    return parquet((3000, 1000, 1000))


@pytest.fixture(scope="module")
def long_splits():
    """Enough rows that a fit by one thread outlasts several heart beats, which store its progress."""
    return parquet((150_000, 50_000, 10_000))


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
        database_statement_timeout_ms=10_000,
        feature_service_host="127.0.0.1",
        feature_service_port=platform.port,
        feature_service_dataset_poll_interval_seconds=0.1,
        feature_service_dataset_storage_path=tmp_path / "datasets",
        model_storage_path=tmp_path / "models",
        model_prediction_horizon_seconds=2,
        model_classification_threshold=0.001,
        trading_strategies=("momentum",),
        trading_symbols=("BTCUSDT",),
    )


@pytest.fixture
async def trainer(settings):
    """The one that finishes what the killed one began."""
    one = Trainer(settings)
    await one.broker.connect()
    yield one
    await one.close()


@pytest.fixture
async def rows(database_url):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def running_trainer(settings, **variables):
    process = await start_trainer(settings, **variables)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Moment:
    """What a test does to hold a trainer at one moment of a run, and to let the next one pass."""

    def __init__(self, platform, rows, trainer):
        self.platform, self.rows, self.trainer = platform, rows, trainer
        self.lock = None

    async def prepare(self):
        async with self.trainer.engine.begin() as connection:
            self.run = await training_runs.request(
                connection,
                strategy_id="momentum",
                symbol="BTCUSDT",
                trigger="manual",
                priority="HIGH",
                trace_id="t",
            )

    async def reached(self): ...

    async def release(self): ...

    async def until(self, state, condition=lambda run: True):
        async with asyncio.timeout(PATIENCE_S):
            while not (run := await self.current()) or run.state is not state or not condition(run):
                await asyncio.sleep(0.02)

    async def current(self):
        async with self.trainer.engine.connect() as connection:
            return await training_runs.find(connection, self.run.run_id)


class Requested(Moment):
    async def prepare(self):
        self.platform.awake.clear()
        await super().prepare()

    async def reached(self):
        await self.until(State.REQUESTED, lambda run: run.owner)

    async def release(self):
        self.platform.awake.set()


class Building(Moment):
    async def prepare(self):
        self.platform.status = "building"
        await super().prepare()

    async def reached(self):
        await self.until(State.BUILDING)

    async def release(self):
        self.platform.status = "ready"


class Ready(Moment):
    async def prepare(self):
        await super().prepare()
        await self.rows.execute(
            "INSERT INTO training_runs (run_id, strategy_id, symbol, trigger, priority, state, lease_until,"
            " trace_id, progress) VALUES (gen_random_uuid(), 'momentum', 'ETHUSDT', 'manual', 'HIGH',"
            """ 'running', now() + interval '1 h', 'elsewhere', '{"stage": "fit"}')"""
        )

    async def reached(self):
        await self.until(State.READY)

    async def release(self):
        await self.rows.execute("DELETE FROM training_runs WHERE trace_id = 'elsewhere'")


class Downloading(Moment):
    async def prepare(self):
        self.platform.delivers.clear()
        await super().prepare()

    async def reached(self):
        async with asyncio.timeout(PATIENCE_S):
            while not any(path.endswith("/download") for path in self.platform.asked):
                await asyncio.sleep(0.02)

    async def release(self):
        self.platform.delivers.set()


class Fitting(Moment):
    async def reached(self):
        self.child = await child_of(self.run)

    async def release(self):
        async with asyncio.timeout(10):
            while lives(self.child):
                await asyncio.sleep(0.02)


class Registering(Moment):
    async def prepare(self):
        self.lock = self.rows.transaction()
        await super().prepare()
        await self.lock.start()
        await self.rows.execute("LOCK TABLE model_versions IN SHARE ROW EXCLUSIVE MODE")

    async def reached(self):
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'model_versions'::regclass"
        async with asyncio.timeout(PATIENCE_S):
            while not await self.rows.fetchval(waits):
                await asyncio.sleep(0.02)

    async def release(self):
        await self.lock.rollback()


@pytest.mark.parametrize(
    ("moment_type", "attempts"),
    [(Requested, 1), (Building, 1), (Ready, 1), (Downloading, 2), (Fitting, 2), (Registering, 2)],
)
async def test_a_trainer_killed_at_any_moment_of_a_run_leaves_one_result_and_no_files(
    moment_type, attempts, platform, rows, trainer, settings
):
    moment = moment_type(platform, rows, trainer)
    await moment.prepare()
    async with running_trainer(settings, DATABASE_STATEMENT_TIMEOUT_MS="30000") as process:
        await moment.reached()
        process.kill()
        await process.wait()
    await moment.release()
    await rows.execute("UPDATE training_runs SET lease_until = now() - interval '1 s' WHERE owner <> ''")

    finished = await trainer.until(State.SUCCEEDED, State.FAILED, State.REJECTED)
    grow_old(settings.model_storage_path)
    await trainer.training.sweep()

    assert (finished.run_id, finished.state) == (moment.run.run_id, State.SUCCEEDED), finished.reason
    assert (finished.attempts, finished.recoveries) == (attempts, attempts - 1)
    assert await rows.fetchval("SELECT count(*) FROM training_runs") == 1
    assert await rows.fetch("SELECT version, run_id FROM model_versions") == [
        (finished.version, finished.run_id)
    ]
    assert [entry.name for entry in settings.model_storage_path.iterdir()] == [finished.version]
    assert list(settings.feature_service_dataset_storage_path.iterdir()) == []
    assert children_with(f"{finished.run_id}/job.json") == []
    assert len(platform.builds) == 1


def grow_old(storage):
    """What lies there looks abandoned: younger files might belong to somebody."""
    for entry in storage.iterdir():
        os.utime(entry, (0, 0))


async def test_a_stopped_trainer_hands_its_run_back_at_once(platform, rows, trainer, settings):
    moment = Fitting(platform, rows, trainer)
    await moment.prepare()
    async with running_trainer(settings) as process:
        await moment.reached()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await process.wait()

    run = await moment.current()
    assert not lives(moment.child)
    assert (run.state, run.owner, run.attempts, run.recoveries) == (State.READY, None, 0, 0)
    assert list(settings.feature_service_dataset_storage_path.iterdir()) == []


async def test_health_answers_while_a_long_fit_runs_and_a_cancel_ends_it(
    platform, rows, trainer, settings, long_splits
):
    platform.splits = long_splits
    moment, port = Fitting(platform, rows, trainer), free_port()
    await moment.prepare()
    waits_s = []
    async with (
        running_trainer(settings, TRAINER_PORT=str(port), MODEL_TRAINING_THREADS="1") as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as http,
    ):
        await moment.until(State.RUNNING, lambda run: (run.progress or {}).get("stage") == "fit")
        child = await child_of(moment.run)
        for _ in range(20):
            began = time.perf_counter()
            answer = await http.get("/health")
            waits_s.append(time.perf_counter() - began)
            assert (answer.status_code, answer.json()["status"]) == (200, "healthy"), answer.text
        assert lives(child), "the fit still ran"
        async with trainer.engine.begin() as connection:
            await training_runs.cancel(connection, moment.run.run_id, actor="ada", reason="enough")
        async with asyncio.timeout(12):
            while lives(child):
                await asyncio.sleep(0.02)
        async with asyncio.timeout(5):
            while (run := await moment.current()).owner:
                await asyncio.sleep(0.02)
        assert process.returncode is None

    assert max(waits_s) < 1.0, waits_s
    assert (run.state, run.reason, run.lease_until) == (State.CANCELLED, "cancelled by ada: enough", None)
    async with trainer.engine.connect() as connection:
        assert await model_registry.versions(connection) == ([], 0)
