"""Versions on disk and in the registry: what serves, what is refused, what goes on serving."""

import asyncio

import aio_pika
import msgspec
import pytest
from pydantic import SecretStr
from tests.integration.platform_rows import Platform
from tests.integration.registered_models import Registry
from tests.integration.test_inference_worker import (
    Held,
    assembled,
    feed,
    policy,
    signals_on_the_wire,
    skips,
    vector,
)

from common import bus, topology
from common.background import BackgroundTasks
from common.database import create_engine
from common.messages import VersionActivated
from common.settings import BusSettings, DatabaseSettings
from inference import handlers
from inference.models import ServedModels
from inference.price_feed import PriceFeed


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


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


async def test_nothing_is_served_before_the_registry_was_read(models):
    assert models.of("momentum") is None
    assert await models.unread() == "the registry has not been read yet"


async def test_a_strategy_warms_up_until_a_version_is_active_and_again_when_none_is(models, registry):
    await models.refresh()
    assert models.of("momentum").warms_up

    await registry.activate(await registry.train())
    await models.refresh()
    assert not models.of("momentum").warms_up
    assert models.of("momentum").loaded.model.version == "v1"

    await registry.deactivate()
    await models.refresh()
    assert models.of("momentum").warms_up
    assert models.of("momentum").loaded is None
    assert await models.problem() is None


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json"])
async def test_one_flipped_byte_is_refused_and_the_old_version_serves_on(models, registry, file):
    await registry.activate(await registry.train())
    await models.refresh()
    second = await registry.train()
    flip_a_byte(registry.root / second / file)

    await registry.activate(second)
    await models.refresh()

    assert models.of("momentum").loaded.model.version == "v1"
    assert file in models.of("momentum").problem
    assert "is not the one that was registered" in await models.problem()


async def test_a_repaired_version_is_served_after_all(models, registry, monkeypatch):
    monkeypatch.setattr("inference.models.RETRY_S", 0.0)
    version = await registry.train()
    kept = (registry.root / version / "model.onnx").read_bytes()
    flip_a_byte(registry.root / version / "model.onnx")
    await registry.activate(version)
    await models.refresh()
    assert models.of("momentum").loaded is None
    assert not models.of("momentum").warms_up

    (registry.root / version / "model.onnx").write_bytes(kept)
    await models.refresh()

    assert models.of("momentum").loaded.model.version == version
    assert await models.problem() is None


async def test_a_model_signal_names_its_version_and_an_unsure_model_holds(
    models, registry, engine, amqp_url, database_url
):
    platform = Platform(database_url)
    await platform.open()
    await registry.activate(await registry.train())
    await models.refresh()
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    await bus.connect(broker, topology.TRADING_SIGNALS)
    worker = assembled(policy(), engine, broker, models, Held())

    await feed(worker, p_down=0.2, p_flat=0.5, p_up=0.3)
    await feed(worker, p_down=0.1, p_flat=0.2, p_up=0.7)
    await worker.on_vector(vector(symbol="ETHUSDT", price=9.0, age_s=0.2), redelivered=False)
    await worker.on_vector(vector(symbol="ETHUSDT", price=10.0), redelivered=False)

    [(_, signal)] = await signals_on_the_wire(amqp_url)
    reasons = await skips(worker, platform)
    await broker.stop()
    assert (signal.signal_type, signal.model_version, signal.is_warmup) == ("buy", "v1", False)
    assert signal.confidence == pytest.approx(0.7, abs=1e-6)
    assert signal.metadata["proposal"]["sha256"] == models.of("momentum").loaded.model.sha256
    assert reasons["hold"] >= 1
    assert reasons["model_of_another_symbol"] == 1


async def test_an_announced_activation_is_served_at_once(models, registry, amqp_url):
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    handlers.subscribe_to_activations(broker, models)
    await bus.connect(broker)
    await models.refresh()

    active = await registry.activate(await registry.train())
    await bus.announce(
        broker,
        topology.MODEL_ACTIVATED,
        VersionActivated(
            strategy_id="momentum",
            version=active.version,
            epoch=active.epoch,
            sha256=active.sha256,
            activated_at=active.activated_at,
        ),
    )

    async with asyncio.timeout(10):
        while models.of("momentum").warms_up:
            await asyncio.sleep(0.02)
    await broker.stop()
    assert models.of("momentum").loaded.model.version == "v1"


async def test_no_signal_mixes_versions_while_they_are_swapped_under_traffic(
    models, registry, engine, amqp_url, database_url
):
    await Platform(database_url).open()
    versions = [await registry.train(threshold=0.5 + n / 100) for n in range(4)]
    await registry.activate(versions[0])
    await models.refresh()
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    await bus.connect(broker, topology.TRADING_SIGNALS)
    free = msgspec.structs.replace(policy().limits, in_flight_timeout_s=0)
    worker = assembled(policy(limits=free), engine, broker, models, Held())

    async def swap():
        for version in versions[1:]:
            await registry.activate(version)
            await models.refresh()

    async with BackgroundTasks() as tasks:
        tasks.start(swap())
        for n in range(8):
            await feed(worker, p_down=0.1, p_flat=0.1, p_up=0.6 + n / 100)

    signals = [signal for _, signal in await signals_on_the_wire(amqp_url)]
    await broker.stop()
    assert signals
    for signal in signals:
        described = signal.metadata["proposal"]
        number = versions.index(signal.model_version)
        assert described["version"] == signal.model_version
        assert described["threshold"] == pytest.approx(0.5 + number / 100)


async def test_prices_are_announced_when_they_move_the_newest_in_the_end(engine, amqp_url, database_url):
    await Platform(database_url).open()
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    await bus.connect(broker, topology.TRADING_SIGNALS)
    connection = await aio_pika.connect(amqp_url)
    channel = await connection.channel()
    exchange = await channel.declare_exchange("flotilla.price_seen", "fanout", durable=True)
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(exchange)
    prices = PriceFeed(broker)
    models = ServedModels(("momentum",), None, engine)
    worker = assembled(policy(), engine, broker, models, Held(), prices=prices)
    heard = []

    async with BackgroundTasks() as tasks:
        tasks.start(prices.run())
        await worker.on_vector(vector(price=99.0, age_s=0.5), redelivered=False)
        for price in (100.5, 101.5, 102.5, 102.5):
            await worker.on_vector(vector(price=price), redelivered=False)
        async with asyncio.timeout(5), queue.iterator() as messages:
            async for message in messages:
                heard.append(msgspec.json.decode(message.body)["price"])
                if heard[-1] == "102.5":
                    break

    assert "99.0" not in heard  # from a market that was not seen to move
    assert len(heard) <= 3
    assert await queue.get(fail=False, no_ack=True) is None
    await connection.close()
    await broker.stop()
