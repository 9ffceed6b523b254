"""Neighbours that answer as none should: each client gives up in time and memory, and says why.

Every use of every client meets every behaviour; afterwards the same client asks an honest neighbour.
"""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr
from tests.integration import hostile_server
from tests.integration.hostile_server import HostileServer, answering, redirecting

from common import ws_gateway
from common.errors import TryAgain, Unusable
from common.feature_service import FeatureService
from common.position_manager import PositionManager, PositionManagerSettings
from common.settings import FeatureServiceSettings
from common.ws_gateway import WsGateway, WsGatewaySettings
from trainer.core.periods import Lengths, rolling
from trainer.datasets import Datasets, Wanted

WAIT_S = 0.3
"""What each client waits at most."""
SLACK_S = 4.0
"""Of a busy machine."""
MEMORY_KIB = 64 * 1024
DATASET = UUID(int=7)
AT = "2026-11-22T13:05:55Z"
VECTOR = {"timestamp": AT, "symbol": "BTCUSDT", "features": {}, "feature_registry_version": "1.0.0"}
POSITION = {"asset": "BTCUSDT", "size": "0.05", "average_entry_price": "9", "last_updated": AT}
WANTED = Wanted(
    symbol="BTCUSDT",
    strategy_id="momentum",
    periods=rolling(datetime.now(UTC), Lengths(train_days=3, validation_days=2, test_days=1), horizon_s=60),
    horizon_s=60,
    threshold=0.002,
    feature_registry_version="1.0.0",
)
USES = {
    "latest vector": (FeatureService, lambda client: client.latest("BTCUSDT"), "200 OK", VECTOR),
    "position": (PositionManager, lambda client: client.booked("BTCUSDT"), "200 OK", POSITION),
    "positions": (PositionManager, lambda client: client.listing(), "200 OK", {"positions": [POSITION]}),
    "balances": (WsGateway, lambda client: client.sync_balances(), "200 OK", {}),
    "dataset status": (Datasets, lambda client: client.status(DATASET), "200 OK", {"status": "building"}),
    "dataset build": (
        Datasets,
        lambda client: client.build(WANTED),
        "202 Accepted",
        {"dataset_id": str(DATASET)},
    ),
}
NEVER_USED = {
    "silence": hostile_server.silent,
    "a drip": hostile_server.dripping,
    "a drip of headers": hostile_server.dripping_headers,
    "chunks for ever": hostile_server.chunked_for_ever,
    "a tebibyte": hostile_server.huge,
    "a reset": hostile_server.reset_in_the_body,
    "no HTTP": hostile_server.no_http,
    "a bomb": hostile_server.bomb(),
    "500": answering(b"Internal Server Error", "500 Internal Server Error"),
    "503": answering(b"{}", "503 Service Unavailable", **{"retry-after": "86400"}),
    "401": answering(b"{}", "401 Unauthorized"),
    "429": answering(b"{}", "429 Too Many Requests"),
    "a redirect within": redirecting("/elsewhere"),
    "a redirect to another host": redirecting("http://127.0.0.2:1/"),
    "headers without an end": answering(b"{}", **{"x-long": "x" * 300_000}),
    "a lying length": answering(b"{}", **{"content-length": "-1"}),
}
UNREADABLE = {
    "nothing": answering(b""),
    "a web page": answering(b"<html>Welcome</html>", **{"content-type": "text/html"}),
    "another encoding": answering(json.dumps(VECTOR).encode("utf-16")),
    "bytes that are no text": answering(
        b'{"status": "\xff", "dataset_id": "\xff", "symbol": "\xff", "asset": "\xff", "positions": "\xff"}'
    ),
    "depth": answering(b'{"a":' * 100_000),
    "NaN": answering(b'{"asset": "BTCUSDT", "size": NaN}'),
    "a list": answering(b"[]"),
}


@asynccontextmanager
async def asking(make):
    """A hostile server, and a client of the class that asks it and nobody else."""
    async with HostileServer().listening() as server:
        if make in (FeatureService, Datasets):
            settings = FeatureServiceSettings(
                feature_service_host="127.0.0.1",
                feature_service_port=server.port,
                feature_service_api_key=SecretStr("canary-key"),
                feature_service_timeout_seconds=WAIT_S,
            )
        elif make is PositionManager:
            settings = PositionManagerSettings(
                position_manager_host="127.0.0.1",
                position_manager_port=server.port,
                position_manager_timeout_seconds=WAIT_S,
            )
        else:
            settings = WsGatewaySettings(ws_gateway_host="127.0.0.1", ws_gateway_port=server.port)
        client = make(settings)
        try:
            yield server, client
        finally:
            await client.aclose()


class Memory:
    """What this process needs beyond what it had, at its highest since then."""

    def __init__(self):
        Path("/proc/self/clear_refs").write_text("5")
        self._began = _status("VmRSS")

    def grown_kib(self):
        return _status("VmHWM") - self._began


def _status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


async def refused(server, client, use, behaviour):
    """What the client raised; it came in time, cost no memory, asked once, and says something."""
    server.behaviour, asked, memory, began = behaviour, server.asked, Memory(), time.monotonic()
    with pytest.raises((TryAgain, Unusable)) as raised:
        await use(client)
    assert time.monotonic() - began < WAIT_S + SLACK_S
    assert memory.grown_kib() < MEMORY_KIB
    assert server.asked == asked + 1
    assert len(str(raised.value)) < 1000
    assert "canary-key" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize("use", USES)
async def test_an_answer_that_is_none_is_an_error_in_time_and_the_next_good_one_is_used(use, monkeypatch):
    monkeypatch.setattr(ws_gateway, "TIMEOUT_S", WAIT_S)
    make, ask, status, good = USES[use]
    async with asking(make) as (server, client):
        for name, behaviour in NEVER_USED.items():
            error = await refused(server, client, ask, behaviour)
            assert any(word in str(error) for word in ("answer", "build", "is FEATURE_SERVICE_API_KEY")), name
        server.behaviour = answering(json.dumps(good).encode(), status)
        await ask(client)


@pytest.mark.parametrize("use", [use for use in USES if use != "balances"])
async def test_an_answer_that_cannot_be_read_is_an_error_and_the_next_good_one_is_used(use):
    make, ask, status, good = USES[use]
    async with asking(make) as (server, client):
        for behaviour in UNREADABLE.values():
            error = await refused(server, client, ask, behaviour)
            assert "answers" in str(error)
        server.behaviour = answering(json.dumps(good).encode(), status)
        await ask(client)


async def test_an_endless_answer_is_not_read_on_once_it_is_too_long():
    async with asking(PositionManager) as (server, client):
        for behaviour in (hostile_server.chunked_for_ever, hostile_server.huge):
            server.gone.clear()
            await refused(server, client, lambda one: one.listing(), behaviour)
            async with asyncio.timeout(SLACK_S):
                await server.gone.wait()


@pytest.mark.parametrize(
    ("behaviour", "limit_s", "says"),
    [
        (hostile_server.silent, 0.3, "bytes in"),
        (hostile_server.dripping, 0.3, "bytes in"),
        (hostile_server.reset_in_the_body, 9.0, "broke off"),
        (hostile_server.bomb(), 9.0, "packed"),
        (redirecting("http://127.0.0.2:1/"), 9.0, "307"),
        (answering(b"", "500 Internal Server Error"), 9.0, "500"),
    ],
)
async def test_a_download_that_is_none_ends_in_time_and_leaves_no_split(behaviour, limit_s, says, tmp_path):
    async with HostileServer().listening() as server:
        server.behaviour = behaviour
        settings = FeatureServiceSettings(feature_service_host="127.0.0.1", feature_service_port=server.port)
        client = Datasets(settings, download_limit_s=limit_s)
        memory = Memory()
        with pytest.raises(TryAgain, match=says):
            await client.download(DATASET, "train", tmp_path / "train.parquet")
        await client.aclose()
    assert not (tmp_path / "train.parquet").exists()
    assert memory.grown_kib() < MEMORY_KIB
