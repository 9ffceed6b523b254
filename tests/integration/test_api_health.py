"""Health over HTTP: what each path asks, and that a replica is ready by its own consumers alone."""

import asyncio
from datetime import UTC, datetime, timedelta

import aio_pika
import pytest
from tests.integration.test_api import PATIENCE_S, running_api, until_ready

from common import bus, tables, topology
from common.alerts import raise_alert
from common.probes import Probes, consumer_check, queue_check
from common.settings import BusSettings


@pytest.fixture
async def bench(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as bench:
        await until_ready(bench.client)
        yield bench


async def test_health_shows_each_check_with_its_latency_and_the_storage(bench):
    said = (await bench.client.get("/health")).json()

    assert said["status"] == "healthy"
    assert said["checks"].keys() == {"database", "queue", "model_storage"}
    assert {check["state"] for check in said["checks"].values()} == {"ok"}
    assert all(0 < check["latency_ms"] < 2000 for check in said["checks"].values())
    assert said["model_storage"].keys() == {"exists", "readable", "writable", "free_bytes"}
    assert said["model_storage"]["readable"]
    assert (await bench.client.get("/health/live")).json() == {"status": "alive"}


async def test_a_missing_storage_degrades_and_does_not_make_unready(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path / "gone") as bench:
        await until_ready(bench.client)
        answer = await bench.client.get("/health")

    said = answer.json()
    assert (answer.status_code, said["status"]) == (200, "degraded")
    assert said["problems"] == {"model_storage": "MODEL_STORAGE_PATH is no directory"}
    assert said["model_storage"]["free_bytes"] > 0


async def test_too_little_room_degrades(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path, model_min_free_bytes=2**62) as bench:
        await until_ready(bench.client)
        said = (await bench.client.get("/health")).json()

    assert said["status"] == "degraded"
    assert "MODEL_MIN_FREE_BYTES" in said["problems"]["model_storage"]


async def test_without_a_broker_it_is_unhealthy_unready_and_alive(database_url, tmp_path):
    async with running_api(database_url, "amqp://x:y@127.0.0.1:9/z", tmp_path) as bench:
        answers = {path: await bench.client.get(f"/health{path}") for path in ("", "/ready", "/live")}
        details = await bench.get("/monitoring/health")

    assert [answer.status_code for answer in answers.values()] == [503, 503, 200]
    assert (answers[""].json()["database_connected"], answers[""].json()["queue_connected"]) == (True, False)
    [queue] = [check for check in details["checks"] if check["name"] == "queue"]
    assert (details["status"], queue["state"]) == ("unhealthy", "failed")
    assert queue["message"] == "no connection to the broker"


def served(replica, state, age=timedelta()):
    now = datetime.now(UTC)
    return {
        "replica": replica,
        "strategy_id": "momentum",
        "state": state,
        "since": now,
        "heart_beat_at": now - age,
    }


async def test_the_details_count_what_needs_attention(bench, tmp_path):
    await bench.insert(
        tables.served_versions,
        served("a", "serving"),
        served("b", "lagging"),
        served("gone", "unavailable", timedelta(minutes=1)),
    )
    async with bench.engine.begin() as connection:
        await raise_alert(connection, "version_refused", "strategy:momentum", "it cannot be served")

    details = await bench.get("/monitoring/health")

    assert (details["service"], details["status"]) == ("model-service", "healthy")
    assert details["replicas"] == {"alive": 2, "lagging": 1}
    assert (details["open_alerts"], details["dead_letters_open"]) == (1, 0)
    assert details["model_storage"]["path"] == str(tmp_path)
    assert all(check["message"] is None for check in details["checks"])


async def test_the_details_do_without_the_database(amqp_url, tmp_path):
    async with running_api("postgresql://nobody:s3cret@127.0.0.1:9/none", amqp_url, tmp_path) as bench:
        details = await bench.get("/monitoring/health")

    assert (details["status"], details["database_connected"]) == ("unhealthy", False)
    assert details["replicas"] is details["open_alerts"] is details["dead_letters_open"] is None


@pytest.fixture
async def consumers(amqp_url):
    """Two processes that consume the same queue."""
    brokers = [bus.create_broker(BusSettings(rabbitmq_url=amqp_url), service=name) for name in ("one", "two")]
    for broker in brokers:

        @broker.subscriber(topology.DATASET_READY)
        async def on_nothing(_):
            pass

    yield brokers
    for broker in brokers:
        await broker.stop()


async def test_a_peers_consumer_does_not_make_a_replica_ready(consumers, amqp_url):
    ours, peer = consumers
    for broker in consumers:
        await bus.connect(broker, topology.DATASET_READY)
    assert await queue_check(ours)() is None

    # The broker cancels every consumer of a queue that goes; the peer alone comes back.
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        await (await connection.channel()).queue_delete(topology.DATASET_READY.name)
    await peer.stop()
    await bus.connect(peer, topology.DATASET_READY)
    async with asyncio.timeout(PATIENCE_S):
        while await consumer_check(ours, topology.DATASET_READY)() is not None:
            await asyncio.sleep(0.02)

    assert await queue_check(peer)() is None
    assert await queue_check(ours)() == "this process does not consume features.dataset.ready"


async def test_what_a_start_has_to_do_once_keeps_a_service_unready_and_not_unhealthy():
    done = []

    async def well():
        return None

    async def start():
        return None if done else "not yet"

    probes = Probes("test", database=well, queue=well, needs={"start": start})
    before = await probes.health()
    done.append(True)
    after = await probes.health()

    assert (before.status, probes.is_ready(before)) == ("degraded", False)
    assert before.problems == {"start": "not yet"}
    assert (after.status, probes.is_ready(after)) == ("healthy", True)
