"""Exits while a real server is stopped, or a real worker frozen: late at worst, never lost, never twice."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from tests.integration.exit_fleet import PATIENCE_S, Fleet, announced, exit_process, ready, served
from tests.integration.platform_rows import Platform

from sandbox.blocking import blocking
from sandbox.ports import free_port
from sandbox.servers import private_servers

FROZEN_S = 20


@pytest.fixture(scope="module")
def own_servers(tmp_path_factory):
    """A broker and a database that only these tests use: they are stopped and started."""
    with private_servers(tmp_path_factory.mktemp("own"), report=lambda line: None) as running:
        environment = {**os.environ, "DATABASE_URL": running.database_url}
        subprocess.run([sys.executable, "-m", "migrations", "upgrade"], env=environment, check=True)
        blocking(Platform(running.database_url).open())
        yield running


@pytest.fixture
async def own_fleet(own_servers, tmp_path):
    one = Fleet(own_servers.database_url, own_servers.rabbitmq_url, tmp_path)
    async with one.connected():
        yield one


def start(server):
    server.launch()
    server.wait_ready()


async def test_a_breach_while_the_broker_is_stopped_goes_out_when_it_runs_again(own_fleet, own_servers):
    fleet = own_fleet
    async with fleet.peer(exit_reissue_seconds=60) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.updated("ETHUSDT", "0.05")
        await peer.worker.on_price("ETHUSDT", announced("97"))
        await fleet.until("SELECT 1 FROM signal_outbox WHERE symbol = 'ETHUSDT' AND state = 'published'")
        await asyncio.to_thread(own_servers.rabbitmq.stop)

        breach = asyncio.create_task(peer.worker.on_price("BTCUSDT", announced("97")))
        await fleet.until("SELECT 1 FROM signal_outbox WHERE symbol = 'BTCUSDT' AND state = 'pending'")
        await asyncio.to_thread(start, own_servers.rabbitmq)

        await asyncio.wait_for(breach, 60)
        async with fleet.connected():
            found = await fleet.signals()
            await fleet.updated("BTCUSDT", "0.02")
            await peer.sweep.follow_exits()
            assert await fleet.signals() == []
    assert [one.symbol for _, one in found] == ["ETHUSDT", "BTCUSDT"]
    assert {one.metadata["generation"] for _, one in found} == {1}


async def test_a_breach_while_the_database_is_stopped_goes_out_at_once_and_is_stored_later(
    own_fleet, own_servers
):
    fleet = own_fleet
    async with fleet.peer() as peer:
        await fleet.updated("SOLUSDT", "-0.5")
        await peer.sweep.reconcile()
        await asyncio.to_thread(own_servers.postgres.stop)
        try:
            began = asyncio.get_running_loop().time()
            await peer.worker.on_price("SOLUSDT", announced("103"))
            took_s = asyncio.get_running_loop().time() - began
            [(_, only)] = await fleet.signals()
            with pytest.raises(ConnectionError):
                await peer.sweep.reconcile()
        finally:
            await asyncio.to_thread(start, own_servers.postgres)

        await peer.sweep.reconcile()
        await peer.worker.on_price("SOLUSDT", announced("104"))
        await peer.sweep.follow_exits()
        assert await fleet.signals() == []

    row = await fleet.lifecycle("SOLUSDT")
    assert (only.signal_type, only.metadata["exit_reason"]) == ("buy", "stop_loss")
    assert (row["latched_rule"], row["exit_signal_id"]) == ("stop_loss", only.signal_id)
    [logged] = await fleet.platform.rows("SELECT signal_id FROM trading_signals WHERE asset = 'SOLUSDT'")
    assert logged["signal_id"] == only.signal_id
    assert took_s < 5


async def test_a_worker_frozen_for_20_seconds_beside_another_one_changes_nothing_but_latency(fleet):
    fleet.positions.book("BTCUSDT", "0.05")
    ports = [free_port(), free_port()]
    async with (
        served(fleet.positions) as port,
        exit_process(fleet, port, EXIT_STRATEGY_PORT=str(ports[0])) as frozen,
        exit_process(fleet, port, EXIT_STRATEGY_PORT=str(ports[1])),
        httpx.AsyncClient() as client,
    ):
        await asyncio.gather(*map(ready, ports))
        frozen.send_signal(signal.SIGSTOP)
        frozen_at = asyncio.get_running_loop().time()
        evaluations = []
        found = []

        async def breach_is_sent():
            found.extend(await fleet.signals())
            return bool(found)

        await _seen_while(fleet, "97", breach_is_sent)
        [(_, only)] = found
        await fleet.answered(only, "filled", "0.05")
        # The frozen worker has heard of none of this: neither of the end, nor of the short that follows, for
        # which all the prices that wait for it are losses.
        await fleet.closed("BTCUSDT")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE closed_at IS NOT NULL")
        await fleet.updated("BTCUSDT", "-0.05", "90")
        while asyncio.get_running_loop().time() < frozen_at + FROZEN_S:
            assert await fleet.signals() == []
            await asyncio.sleep(0.2)
        frozen.send_signal(signal.SIGCONT)
        await ready(ports[0])
        evaluations.append(await _evaluations(client, ports[0]))

        async def is_awake():
            evaluations.append(await _evaluations(client, ports[0]))
            return evaluations[-1] >= evaluations[0] + 3

        await _seen_while(fleet, "90", is_awake)

        assert await fleet.signals() == []
        row = await fleet.lifecycle()
        assert (row["side"], row["latched_rule"], row["last_price"]) == ("short", None, 90)


async def _seen_while(fleet, value, is_over):
    """Inference sees the price until it is over."""
    over = asyncio.Event()
    seeing = asyncio.create_task(fleet.seen_until(over.is_set, "BTCUSDT", value))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await is_over():
                await asyncio.sleep(0.1)
    finally:
        over.set()
        await seeing


async def _evaluations(client, port):
    told = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    [line] = [line for line in told.splitlines() if line.startswith("flotilla_exit_evaluation_seconds_count")]
    return float(line.split()[1])


async def test_a_breach_while_the_database_is_frozen_goes_out_and_is_stored_once_it_thaws(
    own_fleet, own_servers
):
    fleet = own_fleet
    async with fleet.peer(database_statement_timeout_ms=250) as peer:
        await fleet.updated("XRPUSDT", "0.5")
        await peer.sweep.reconcile()
        with _frozen(own_servers.postgres.pid):
            began = asyncio.get_running_loop().time()
            await peer.worker.on_price("XRPUSDT", announced("97"))
            took_s = asyncio.get_running_loop().time() - began
            [(_, only)] = await fleet.signals()

        async with asyncio.timeout(PATIENCE_S):
            while await peer.sweep.stops() is not None:
                with suppress(ConnectionError):
                    await peer.sweep.follow_exits()
        await peer.worker.on_price("XRPUSDT", announced("96"))
        assert await fleet.signals() == []

    row = await fleet.lifecycle("XRPUSDT")
    assert (row["latched_rule"], row["exit_signal_id"]) == ("stop_loss", only.signal_id)
    assert took_s < 15


@contextmanager
def _frozen(pid):
    """The process and all that it started answer nobody."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    processes = [pid, *map(int, children)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
