"""A version in the running service: decides, is explained, is scored, and is reported by its replica."""

import asyncio
import itertools
import json
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import aio_pika
import msgspec
import pytest
from pydantic import SecretStr
from tests.integration.platform_rows import Platform, flat_position_manager
from tests.integration.registered_models import Registry
from tests.integration.test_service_processes import answer, process

from common.database import create_engine
from common.messages import FeatureVector
from common.settings import DatabaseSettings


@asynccontextmanager
async def market(amqp_url):
    """Vectors of a rising market that the model is sure of, until the block ends."""
    connection = await aio_pika.connect(amqp_url)
    channel = await connection.channel()

    async def feed():
        for number in itertools.count():
            vector = FeatureVector(
                timestamp=datetime.now(UTC),
                symbol="BTCUSDT",
                features={
                    "mid_price": 100.0 + number / 10,
                    "spread_rel": 0.0004,
                    "p_down": 0.1,
                    "p_flat": 0.2,
                    "p_up": 0.7,
                },
                feature_registry_version="1.0.0",
            )
            await channel.default_exchange.publish(
                aio_pika.Message(msgspec.json.encode(vector)), routing_key="features.live"
            )
            await asyncio.sleep(0.2)

    feeding = asyncio.create_task(feed())
    try:
        yield
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding
        await connection.close()


async def rows(platform, query, holds=bool, limit_s=30.0):
    """The rows, once there are any that `holds`."""
    async with asyncio.timeout(limit_s):
        while not holds(found := await platform.rows(query)):
            await asyncio.sleep(0.1)
    return found


@pytest.fixture
async def engine(database_url):
    made = create_engine(DatabaseSettings(database_url=SecretStr(database_url)), application="test")
    yield made
    await made.dispose()


async def test_a_version_in_service_leaves_its_traces_and_takes_its_report_along(
    engine, database_url, amqp_url, tmp_path
):
    platform = Platform(database_url)
    await platform.open()
    registry = Registry(engine, tmp_path / "models")
    await registry.activate(await registry.train(horizon_s=1.0))
    served = "SELECT * FROM served_versions WHERE state = 'serving'"
    explained = "SELECT metadata FROM trading_signals WHERE metadata ? 'contributions'"
    live = "SELECT * FROM model_quality_metrics WHERE metadata->>'dataset_split' = 'live'"

    async with flat_position_manager() as port:
        variables = {
            "DATABASE_URL": database_url,
            "RABBITMQ_URL": amqp_url,
            "TRADING_STRATEGIES": "momentum",
            "POSITION_MANAGER_HOST": "127.0.0.1",
            "POSITION_MANAGER_PORT": str(port),
        }
        async with process("inference", tmp_path, **variables) as (child, url):
            await answer(f"{url}/health/ready", 200)
            async with market(amqp_url):
                [report] = await rows(platform, served)
                [signal, *_] = await rows(platform, explained)
                figures = await rows(platform, live, lambda found: len(found) == 4)
            child.terminate()
            await asyncio.wait_for(child.wait(), 20)

    assert (report["strategy_id"], report["version"], report["epoch"]) == ("momentum", "v1", 1)
    contributions = json.loads(signal["metadata"])["contributions"]
    assert [each["feature"] for each in contributions["top"]] == ["p_up"]
    by_name = {each["metric_name"]: each for each in figures}
    assert by_name.keys() == {"accuracy", "log_loss", "brier", "coverage"}
    # The market rises faster than the label asks for, and the model says so.
    assert by_name["accuracy"]["metric_value"] == 1
    assert json.loads(by_name["accuracy"]["metadata"])["confusion"].keys() == {"1:1"}
    assert by_name["coverage"]["metric_value"] == 1
    assert await platform.rows("SELECT * FROM served_versions") == []
