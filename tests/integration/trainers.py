"""Trainers for tests: one in this process whose ticks the test gives, and one as a process of its own."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from common import bus, training_runs
from common.database import create_engine
from common.feature_service import FeatureService
from sandbox.ports import free_port
from trainer import child
from trainer.builds import Builds
from trainer.datasets import Datasets
from trainer.schedules import Schedules
from trainer.settings import Settings
from trainer.training import Training


def queue_settings(database_url, amqp_url, platform, tmp_path, **changes):
    """Settings of a trainer beside the Feature Service `platform`, which it asks without patience."""
    return Settings(
        database_url=SecretStr(database_url),
        rabbitmq_url=SecretStr(amqp_url),
        database_statement_timeout_ms=5000,
        database_acquire_timeout_seconds=5,
        feature_service_host="127.0.0.1",
        feature_service_port=platform.port,
        feature_service_dataset_poll_interval_seconds=0.02,
        feature_service_dataset_storage_path=tmp_path / "datasets",
        model_storage_path=tmp_path / "models",
        **changes,
    )


class Trainer:
    """A trainer whose ticks the test gives."""

    def __init__(self, settings, owner="trainer-1", fit=child.fit):
        self.settings = settings
        self.engine = create_engine(settings, application=owner)
        self.broker = bus.create_broker(settings, service=owner)
        self.datasets, self.features = Datasets(settings), FeatureService(settings)
        self.schedules = Schedules(settings, self.engine)
        self.builds = Builds(settings, self.engine, self.datasets, self.features, owner=owner)
        self.training = Training(settings, self.engine, self.broker, self.datasets, owner=owner, fit=fit)

    async def run(self):
        """The one run there is."""
        async with self.engine.connect() as connection:
            found = await training_runs.recent(connection)
        return found[0] if found else None

    async def until(self, *states, limit_s=40):
        """Ticks until the run stands in one of `states`."""
        async with asyncio.timeout(limit_s):
            while True:
                await self.schedules.tick()
                await self.training.recover()
                await self.builds.tick()
                if (run := await self.run()) and run.state in states:
                    return run
                await self.training.tick()
                if (run := await self.run()) and run.state in states:
                    return run
                await asyncio.sleep(0.05)

    async def close(self):
        await self.broker.stop()
        await self.datasets.aclose()
        await self.features.aclose()
        await self.engine.dispose()


async def seen(trainer, state, limit_s=30):
    async with asyncio.timeout(limit_s):
        while not (run := await trainer.run()) or run.state is not state:
            await asyncio.sleep(0.05)
    return run


async def child_of(run, limit_s=20):
    async with asyncio.timeout(limit_s):
        while not (found := children_with(f"{run.run_id}/job.json")):
            await asyncio.sleep(0.02)
    return found[0]


def children_with(argument):
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and argument in (entry / "cmdline").read_text(errors="replace"):
                found.append(int(entry.name))
    return found


async def start_trainer(settings, **variables):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "RABBITMQ_URL": settings.rabbitmq_url.get_secret_value(),
        "FEATURE_SERVICE_PORT": str(settings.feature_service_port),
        "FEATURE_SERVICE_HOST": "127.0.0.1",
        "FEATURE_SERVICE_API_KEY": "sandbox",
        "FEATURE_SERVICE_DATASET_POLL_INTERVAL_SECONDS": "0.1",
        "FEATURE_SERVICE_DATASET_STORAGE_PATH": str(settings.feature_service_dataset_storage_path),
        "MODEL_STORAGE_PATH": str(settings.model_storage_path),
        "MODEL_PREDICTION_HORIZON_SECONDS": "2",
        "TRADING_STRATEGIES": "momentum",
        "TRADING_SYMBOLS": "BTCUSDT",
        "TRAINER_PORT": str(free_port()),
        **variables,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trainer", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
