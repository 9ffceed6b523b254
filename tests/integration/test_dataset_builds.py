"""Dataset builds beside live vectors, on a real broker; and the sandbox as one process."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aio_pika
import asyncpg
import httpx
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import ChannelNotFoundEntity

from sandbox.dataset_builds import DatasetBuilds, Pace
from sandbox.dataset_store import DatasetStore
from sandbox.feature_service import QUEUE, READY_QUEUE, announce_dataset, create_app, publish_live
from sandbox.market import Market, synthetic_series
from sandbox.ports import free_port

PATIENCE_S = 15
KEY = {"X-API-Key": "sandbox"}
HISTORY_BARS = 2_000


class Running:
    """A Feature Service in this process, its REST surface and what it published of its vectors."""

    def __init__(self, builds: DatasetBuilds, http: httpx.AsyncClient) -> None:
        self.builds = builds
        self.http = http
        self.vectors: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def build(self) -> str:
        answer = await self.http.post("/dataset/build", json=request(datetime.now(UTC)))
        assert answer.status_code == 202
        return str(answer.json()["dataset_id"])

    async def until_deaf(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.builds.hearing.is_set():
                await asyncio.sleep(0.002)


def request(now: datetime, bar_s: float = 0.5) -> dict[str, Any]:
    """Six tenths of the last 1,000 bars to train, two each to validate and to test."""

    def at(bars: int) -> str:
        return (now - timedelta(seconds=bars * bar_s)).isoformat()

    return {
        "symbol": "BTCUSDT",
        "split_strategy": "time_based",
        "train_period_start": at(1_000),
        "train_period_end": at(400),
        "validation_period_start": at(400),
        "validation_period_end": at(200),
        "test_period_start": at(200),
        "test_period_end": at(0),
        "target_config": {"type": "classification", "horizon": 2, "threshold": 0.0009},
        "feature_registry_version": "candles-1",
    }


@asynccontextmanager
async def running(amqp_url: str, directory: Any, pace: Pace) -> AsyncIterator[Running]:
    series = {
        symbol: synthetic_series(symbol, seed=1, edge=0.08, bars=3_000) for symbol in ("BTCUSDT", "ETHUSDT")
    }
    market = Market(series, started_at=datetime.now(UTC), bar_seconds=0.5, history_bars=HISTORY_BARS)
    builds = DatasetBuilds(market, DatasetStore(directory), partial(announce_dataset, amqp_url), pace=pace)
    http = httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(market, builds, api_key="sandbox")),  # type: ignore[arg-type]
        base_url="http://feature-service",
        headers=KEY,
        timeout=PATIENCE_S,
    )
    feed = publish_live(market, amqp_url, hearing=builds.hearing, rhythm_s=(0.02,))
    tasks = [asyncio.create_task(feed), asyncio.create_task(builds.run())]
    async with http, await aio_pika.connect(amqp_url) as connection:
        service = Running(builds, http)
        channel = await connection.channel()
        vectors = await channel.declare_queue(QUEUE, durable=True)
        await vectors.consume(service.vectors.put, no_ack=True)
        yield service
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_while_a_build_runs_nothing_is_published_and_nothing_answered(amqp_url, tmp_path):
    async with running(amqp_url, tmp_path, Pace(shortest_s=0.4, begins_after_s=0.05)) as service:
        async with asyncio.timeout(PATIENCE_S):
            await service.vectors.get()
        await service.build()
        await service.until_deaf()
        deaf_from = datetime.now(UTC)
        answer = asyncio.create_task(service.http.get("/health"))
        await service.builds.hearing.wait()
        deaf_until = datetime.now(UTC)
        answered_early = answer.done()
        health = await answer
        async with asyncio.timeout(PATIENCE_S):
            stamps = [datetime.fromisoformat(json.loads((await service.vectors.get()).body)["timestamp"])]
            while stamps[-1] < deaf_until:
                stamps.append(
                    datetime.fromisoformat(json.loads((await service.vectors.get()).body)["timestamp"])
                )

    assert deaf_until - deaf_from > timedelta(seconds=0.35)
    assert not answered_early
    assert health.status_code == 200
    quiet_from = deaf_from + timedelta(seconds=0.01)  # what was being published may still go out
    assert [stamp for stamp in stamps if quiet_from < stamp < deaf_until - timedelta(seconds=0.01)] == []


async def test_the_news_of_a_dataset_is_lost_when_nobody_declared_its_queue(amqp_url, tmp_path):
    async with running(amqp_url, tmp_path, Pace(shortest_s=0.02, begins_after_s=0.01)) as service:
        await service.build()
        await service.until_deaf()
        await service.builds.hearing.wait()
        async with await aio_pika.connect(amqp_url) as connection:
            with pytest.raises(ChannelNotFoundEntity):
                await (await connection.channel()).declare_queue(READY_QUEUE, passive=True)
            channel = await connection.channel()
            queue = await channel.declare_queue(READY_QUEUE, durable=True)
            second = await service.build()
            async with asyncio.timeout(PATIENCE_S):
                while (message := await queue.get(no_ack=True, fail=False)) is None:
                    await asyncio.sleep(0.01)

    assert json.loads(message.body)["dataset_id"] == second
    assert message.content_type == "application/json"
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert len(message.message_id) == 32
    assert message.headers == {}


async def test_without_a_broker_the_news_is_lost_and_the_dataset_is_not(tmp_path):
    nowhere = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    async with asyncio.timeout(PATIENCE_S):
        await announce_dataset(nowhere, {"dataset_id": "x"})


@pytest.fixture
async def sandbox(empty_database_url, amqp_url, tmp_path):
    """`python -m sandbox` and the ports it was given."""
    names = ("FEATURE_SERVICE_PORT", "POSITION_MANAGER_PORT", "WS_GATEWAY_PORT")
    ports = {name: free_port() for name in names}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        env={
            **os.environ,
            **{name: str(port) for name, port in ports.items()},
            "DATABASE_URL": empty_database_url,
            "RABBITMQ_URL": amqp_url,
            "SANDBOX_HISTORY_BARS": "3000",
            "SANDBOX_DATASETS_PATH": str(tmp_path),
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    yield process, *(f"http://127.0.0.1:{port}" for port in ports.values())
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def test_every_neighbour_answers_on_its_own_port_and_only_one_goes_deaf(sandbox, empty_database_url):
    process, features, positions, gateway = sandbox
    async with httpx.AsyncClient(headers=KEY, timeout=PATIENCE_S) as http, asyncio.timeout(4 * PATIENCE_S):
        for url in (features, positions, gateway):
            await _until_healthy(http, url)
        database = await asyncpg.connect(empty_database_url)
        count = "SELECT count(*) FROM account_balances"
        before = await database.fetchval(count)

        built = await http.post(f"{features}/dataset/build", json=request(datetime.now(UTC)))
        waiting = await _until_it_hangs(http, f"{features}/health")
        listed = await http.get(f"{positions}/api/v1/positions")
        synced = await http.post(f"{gateway}/api/v1/balances/sync")
        was_deaf = not waiting.done()
        health = await waiting
        row = await http.get(f"{features}/dataset/{built.json()['dataset_id']}")
        after = await database.fetchval(count)
        await database.close()
        refused = [
            (await http.get(f"{url}{path}", headers={"X-API-Key": "wrong"})).status_code
            for url, path in ((features, "/dataset/list"), (positions, "/api/v1/positions"))
        ]
    process.send_signal(signal.SIGTERM)
    code = await process.wait()

    assert was_deaf
    assert (listed.status_code, listed.json()) == (200, {"positions": [], "count": 0})
    assert (synced.status_code, after > before) == (200, True)
    assert health.status_code == 200
    assert row.json()["status"] == "ready"
    assert row.json()["train_records"] == 600
    assert refused == [500, 401]
    assert code == 0


async def test_a_port_that_is_taken_is_named_in_one_line():
    taken = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    port = str(taken.sockets[0].getsockname()[1])
    environment = {
        **os.environ,
        "DATABASE_URL": "postgresql://nobody:s3cret@127.0.0.1:1/nowhere",
        "RABBITMQ_URL": "amqp://nobody:s3cret@127.0.0.1:1/",
        "FEATURE_SERVICE_PORT": str(free_port()),
        "POSITION_MANAGER_PORT": port,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await process.communicate()
    taken.close()
    await taken.wait_closed()

    assert process.returncode == 78
    assert complaint.decode().startswith(f"port {port} (from POSITION_MANAGER_PORT) is held by ")
    assert complaint.count(b"\n") == 1


async def _until_healthy(http: httpx.AsyncClient, url: str) -> None:
    while True:
        try:
            if (await http.get(f"{url}/health")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)


async def _until_it_hangs(http: httpx.AsyncClient, url: str) -> asyncio.Task[httpx.Response]:
    while True:
        answer = asyncio.create_task(http.get(url))
        done, _ = await asyncio.wait([answer], timeout=0.2)
        if not done:
            return answer
