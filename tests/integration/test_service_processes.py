"""The services as an operator starts them: alive at once, ready when they can work, clear where not."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager

import httpx
import pytest

from sandbox.ports import free_port

PORTS = {
    "inference": "INFERENCE_PORT",
    "trainer": "TRAINER_PORT",
    "exit_strategy": "EXIT_STRATEGY_PORT",
    "api": "MODEL_SERVICE_PORT",
}
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0"
NOWHERE = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x", "RABBITMQ_URL": "amqp://u:p@127.0.0.1:1/"}


@asynccontextmanager
async def process(service, tmp_path, **variables):
    port = free_port()
    log = (tmp_path / "log").open("wb")
    environment = {
        **os.environ,
        PORTS[service]: str(port),
        "MODEL_SERVICE_API_KEY": KEY,
        "MODEL_STORAGE_PATH": str(tmp_path / "models"),
        "FEATURE_SERVICE_DATASET_STORAGE_PATH": str(tmp_path / "datasets"),
        "TRADING_SYMBOLS": "BTCUSDT",
        **variables,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        service,
        env=environment,
        stdout=log,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child, f"http://127.0.0.1:{port}"
    finally:
        if child.returncode is None:
            child.terminate()
        await asyncio.wait_for(child.communicate(), 30)
        log.close()


async def answer(url, status, limit_s=30.0):
    async with httpx.AsyncClient() as client, asyncio.timeout(limit_s):
        while True:
            try:
                response = await client.get(url)
            except httpx.HTTPError:
                response = None
            if response is not None and response.status_code == status:
                return response
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("service", PORTS)
async def test_a_service_becomes_ready_and_ends_in_order(service, database_url, amqp_url, tmp_path):
    async with process(service, tmp_path, DATABASE_URL=database_url, RABBITMQ_URL=amqp_url) as (child, url):
        ready = await answer(f"{url}/health/ready", 200)
        metrics = await answer(f"{url}/metrics", 200)
        child.terminate()
        await asyncio.wait_for(child.wait(), 20)

    health = ready.json()
    assert health["database_connected"]
    assert health["queue_connected"]
    assert health["service"] == ("model-service" if service == "api" else service)
    assert "python_info" in metrics.text
    # uvicorn ends by the signal that it was asked to end with, once everything is closed.
    assert child.returncode == -signal.SIGTERM
    assert '"event": "service stopped"' in (tmp_path / "log").read_text()


@pytest.mark.parametrize("service", PORTS)
async def test_a_service_waits_alive_for_what_it_needs(service, tmp_path):
    async with process(service, tmp_path, **NOWHERE) as (child, url):
        await answer(f"{url}/health/live", 200)
        unready = await answer(f"{url}/health", 503)

        assert child.returncode is None
    health = unready.json()
    assert health["status"] == "unhealthy"
    assert (health["database_connected"], health["queue_connected"]) == (False, False)
    assert set(health["problems"]) >= {"database", "queue"}


async def test_a_database_without_our_schema_keeps_a_service_unready(empty_database_url, amqp_url, tmp_path):
    variables = {"DATABASE_URL": empty_database_url, "RABBITMQ_URL": amqp_url}
    async with process("inference", tmp_path, **variables) as (_, url):
        unready = await answer(f"{url}/health/ready", 503)

    assert "the schema is missing" in unready.json()["problems"]["database"]


@pytest.mark.parametrize("service", PORTS)
async def test_an_occupied_port_is_named_with_its_variable(service, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = str(holder.getsockname()[1])
        async with process(service, tmp_path, **{**NOWHERE, PORTS[service]: taken}) as (child, _):
            _, said = await asyncio.wait_for(child.communicate(), 20)

    assert child.returncode == 78
    assert f"{PORTS[service]}: 127.0.0.1:{taken} is in use" in said.decode()
