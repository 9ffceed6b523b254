"""Runs for a dataset alone: they end with the dataset, and no training takes notice of them."""

from contextlib import AsyncExitStack

import pytest
from tests.integration.building_feature_service import serving
from tests.integration.trainers import Trainer, queue_settings

from common import training_runs
from common.messages import DatasetReady
from common.training_figures import last_ends, training_figures
from common.training_runs import State

RECORDS = {"train_records": 300, "validation_records": 70, "test_records": 0}


@pytest.fixture
async def platform():
    async with serving() as service:
        service.records = RECORDS
        yield service


@pytest.fixture
async def trainer(database_url, amqp_url, platform, tmp_path):
    settings = queue_settings(database_url, amqp_url, platform, tmp_path, trading_symbols=("BTCUSDT",))
    async with AsyncExitStack() as stack:
        found = Trainer(settings)
        stack.push_async_callback(found.close)
        yield found


async def request(trainer):
    async with trainer.engine.begin() as connection:
        return await training_runs.request(
            connection,
            strategy_id="default",
            symbol="BTCUSDT",
            trigger="manual",
            priority="NORMAL",
            trace_id="t",
            dataset_only=True,
        )


async def build_until(trainer, state):
    while (run := await trainer.run()).state is not state:
        await trainer.builds.tick()
    return run


async def test_a_run_for_a_dataset_ends_with_it_by_poll(trainer, platform):
    await request(trainer)

    run = await build_until(trainer, State.SUCCEEDED)
    await trainer.training.tick()

    assert (await trainer.run()) == run
    assert (run.attempts, run.version, run.owner, run.lease_until) == (0, None, None, None)
    assert run.dataset_id is not None
    assert run.figures["records"] == {"train": 300, "validation": 70, "test": 0}
    assert run.figures["feature_registry_version"] == "candles-1"
    assert run.finished_at is not None
    assert len(platform.builds) == 1
    assert not any(path.endswith("/download") for path in platform.asked)


async def test_a_run_for_a_dataset_ends_with_its_announcement(trainer, platform):
    platform.status = "building"
    await request(trainer)
    building = await build_until(trainer, State.BUILDING)

    await trainer.builds.on_ready(
        DatasetReady(dataset_id=building.dataset_id, symbol="BTCUSDT", status="ready", **RECORDS)
    )
    run = await trainer.run()

    assert run.state is State.SUCCEEDED
    assert run.finished_at is not None
    assert run.figures == {**building.figures, "records": {"train": 300, "validation": 70, "test": 0}}


async def test_a_dataset_alone_is_no_training_for_schedules_figures_and_alerts(trainer, platform):
    await request(trainer)
    await build_until(trainer, State.SUCCEEDED)

    async with trainer.engine.connect() as connection:
        figures = await training_figures(connection)
        ends = await last_ends(connection)
        last = await training_runs.last_trainings(connection)
    await trainer.schedules.tick()
    asked = await trainer.run()

    assert (figures.total_runs, figures.success_rate) == (0, None)
    assert ends == []
    assert last == {}
    assert (asked.trigger, asked.dataset_only) == ("bootstrap", False), "as if nothing had been"
