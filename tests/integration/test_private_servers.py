"""The private servers, started for real: both majors, restarts, and that nothing outlives its owner."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import aio_pika
import asyncpg
import pytest
from tests.processes import listens, runs, soon

from sandbox.errors import Missing, NotAnswering, PortOccupied, SetupError
from sandbox.postgres import as_unprivileged, postgres_binaries
from sandbox.rabbitmq import rabbitmq_tree
from sandbox.servers import private_postgres, private_servers

_OWNER = """
import sys, time
from pathlib import Path
from urllib.parse import urlsplit
from sandbox.servers import private_servers

with private_servers(Path(sys.argv[1]), report=lambda line: None) as servers:
    ports = [urlsplit(url).port for url in (servers.database_url, servers.rabbitmq_url)]
    print(servers.postgres.pid, servers.rabbitmq.pid, *ports, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_no_process_and_no_port_outlives_the_owner(tmp_path, number):
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as owner:
        assert owner.stdout is not None
        *pids, postgres_port, rabbitmq_port = map(int, owner.stdout.readline().split())
        assert listens(postgres_port)
        assert listens(rabbitmq_port)

        os.killpg(owner.pid, number)

        assert soon(lambda: not any(map(runs, [*pids, *working_in(tmp_path)])), limit_s=20)
        assert not listens(postgres_port)
        assert not listens(rabbitmq_port)


@pytest.mark.parametrize("major", [15, 18])
async def test_both_majors_start_beside_a_broker_that_was_given(tmp_path, servers, major):
    with private_servers(
        tmp_path, postgres_major=major, rabbitmq_url=servers.rabbitmq_url, report=ignore
    ) as started:
        connection = await asyncpg.connect(started.database_url)
        version = await connection.fetchval("SHOW server_version")
        durable = [await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
        await connection.close()

    assert version.split(".")[0] == str(major)
    assert durable == ["on", "on"]
    assert started.rabbitmq is None
    assert started.rabbitmq_url == servers.rabbitmq_url


async def test_postgres_keeps_committed_rows_and_its_address_through_a_crash(tmp_path):
    with private_postgres(tmp_path, report=ignore) as postgres:
        url, first = postgres.url, postgres.pid
        await execute(url, "CREATE TABLE kept AS SELECT 1 AS row")

        postgres.kill()
        with pytest.raises(NotAnswering, match="does not run"):
            _ = postgres.pid
        postgres.restart()

        assert postgres.url == url
        assert postgres.pid != first
        await execute(url, "SELECT row FROM kept")

    with private_postgres(tmp_path, report=ignore) as postgres:
        assert postgres.url == url
        await execute(url, "SELECT row FROM kept")


async def test_rabbitmq_keeps_persistent_messages_through_a_crash(tmp_path, servers):
    with private_servers(tmp_path, database_url=servers.database_url, report=ignore) as started:
        assert started.rabbitmq is not None
        assert listening_addresses(started.rabbitmq.pid) == {"127.0.0.1"}
        url = started.rabbitmq.add_vhost("crash")
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel(publisher_confirms=True)
            queue = await channel.declare_queue("kept", durable=True)
            message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, queue.name)

        started.rabbitmq.kill()
        started.rabbitmq.restart()

        async with await aio_pika.connect(url) as connection:
            queue = await (await connection.channel()).declare_queue("kept", durable=True)
            # A classic queue recovers its messages in the background: consume rather than ask once.
            async with queue.iterator(timeout=10) as messages:
                delivered = await anext(messages)
                await delivered.ack()
        assert delivered.body == b"kept"


def test_secrets_are_for_the_owner_only_and_ports_for_this_machine_only(tmp_path, servers):
    with private_servers(tmp_path, rabbitmq_url=servers.rabbitmq_url, report=ignore) as started:
        assert started.postgres is not None
        password = started.database_url.split(":")[2].partition("@")[0]
        holders = [path for path in tmp_path.rglob("*") if path.is_file() and holds(path, password)]

        assert holders
        assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}
        assert listening_addresses(started.postgres.pid) == {"127.0.0.1"}


def test_a_port_that_was_asked_for_but_is_taken_is_named_with_its_holder(tmp_path, servers):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wanted = rf"port {port} \(from POSTGRES_PORT\) is held by .*\(pid {os.getpid()}\)"

        with (
            pytest.raises(PortOccupied, match=wanted),
            private_servers(tmp_path, rabbitmq_url=servers.rabbitmq_url, postgres_port=port, report=ignore),
        ):
            pass


def test_a_private_port_that_is_taken_meanwhile_is_replaced(tmp_path):
    with private_postgres(tmp_path, report=ignore) as postgres:
        before = port_of(postgres.url)

    with socket.create_server(("127.0.0.1", before)), private_postgres(tmp_path, report=ignore) as postgres:
        assert port_of(postgres.url) != before


@pytest.mark.parametrize(
    ("variable", "argument", "url"),
    [
        ("DATABASE_URL", "database_url", "postgresql://trader:s3cret@127.0.0.1:9/fleet"),
        ("RABBITMQ_URL", "rabbitmq_url", "amqp://trader:s3cret@127.0.0.1:9/"),
    ],
)
def test_a_given_server_that_does_not_answer_is_named_without_its_password(tmp_path, variable, argument, url):
    with pytest.raises(NotAnswering) as failure, private_servers(tmp_path, report=ignore, **{argument: url}):
        pass

    assert f"{variable} is set" in str(failure.value)
    assert "trader@127.0.0.1:9" in str(failure.value)
    assert "s3cret" not in str(failure.value)


def test_a_directory_in_use_is_not_started_twice(tmp_path):
    with (
        private_postgres(tmp_path, report=ignore),
        pytest.raises(SetupError, match=rf"in use by process {os.getpid()}"),
        private_postgres(tmp_path, report=ignore),
    ):
        pass


def test_without_a_broker_or_a_way_to_fetch_one_both_ways_out_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(
        Missing, match=r"apt-get is not on this machine(?s:.*)apt-get install(?s:.*)RABBITMQ_URL"
    ):
        rabbitmq_tree(tmp_path / "packages", ignore, installed=tmp_path)


def test_an_unknown_major_is_named(tmp_path):
    with pytest.raises(Missing, match=r"postgresql-99(?s:.*)DATABASE_URL"):
        postgres_binaries(99, tmp_path / "packages", ignore)


def test_root_without_user_namespaces_is_told_to_give_a_database(tmp_path, monkeypatch):
    forbidding = tmp_path / "unshare"
    forbidding.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    forbidding.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    with pytest.raises(Missing, match=r"namespaces are forbidden here .*not permitted.*DATABASE_URL"):
        as_unprivileged(user_id=0)
    assert as_unprivileged(user_id=1000) == []


def ignore(line: str) -> None:
    """Progress is for people."""


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def holds(path: Path, text: str) -> bool:
    return text.encode() in path.read_bytes()


def working_in(directory: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")).is_relative_to(directory):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def listening_addresses(pid: int) -> set[str]:
    """The addresses that a process listens on; what it opens and closes meanwhile does not matter."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            sockets.add(os.readlink(descriptor))
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                raw = bytes.fromhex(fields[1].partition(":")[0])
                addresses.add(socket.inet_ntoa(raw[::-1]) if len(raw) == 4 else raw.hex())
    return addresses
