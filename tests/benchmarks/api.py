"""The API over HTTP on a database of years, beside what the same questions cost the database alone.

`python -m tests.benchmarks.api`: 10,000 versions, 1,000,000 executions and 200,000 signals on a private
PostgreSQL; one process of the API, asked over keep-alive connections from this one.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import asyncpg
import msgspec
from tests.benchmarks.exit_path import bench_servers
from tests.integration.seeded import NEWEST, seed

from sandbox.ports import free_port

KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0"
ROUNDS = 400
"""Requests of a question, one after the other, as far as QUESTION_S lets them."""
QUESTION_S = 8.0
CLIENTS = 8
LISTING_S = 8.0
"""How long the listing is asked for by all clients at once."""
READY_S = 30.0
GOALS = {"page p50 ms": 5.0, "series p50 ms": 25.0, "requests/s": 1000.0, "RSS MB": 150.0}

PAGE = "/api/v1/models?limit=20"
QUESTIONS = {
    "page of 20 versions": PAGE,
    "its last page": "/api/v1/models?limit=20&offset=9980&sort=version",
    "a version whole": "/api/v1/models/v500",
    "24 h of executions": "/api/v1/strategies/momentum/performance/time-series?granularity=hour",
    "a week of live figures": f"/api/v1/models/{NEWEST}/metrics/time-series?granularity=hour",
}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How long each answer took, in seconds, and how much it held."""

    seconds: list[float]
    answer_bytes: int = 0

    def ms(self, percent: int) -> float:
        """So many percent took no longer."""
        return quantiles(self.seconds, n=100)[percent - 1] * 1000


class Client:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def get(self, path: str) -> bytes:
        """The body of a 200; anything else is an error."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: api\r\nX-API-Key: {KEY}\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        body = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{path}: {head.splitlines()[0]!r} {body[:300]!r}")
        return body


async def measure(database_url: str, amqp_url: str, storage: Path) -> None:
    """Prints p50 and p99 of each question, requests a second of the listing, memory, and the floor."""
    began = time.perf_counter()
    rows = await seed(database_url)
    print(f"{rows.versions:,} versions, {rows.executions:,} executions, {rows.signals:,} signals", end=" ")
    print(f"seeded in {time.perf_counter() - began:.0f} s; load average {os.getloadavg()[0]:.2f}")
    port = free_port()
    with _process(database_url, amqp_url, storage, port) as process:
        async with _client(port) as client:
            await _until_ready(client)
            asked = {name: await _ask(client, _now(path)) for name, path in QUESTIONS.items()}
        async with _floor(database_url) as floors:
            asked |= floors
        cpu_s = _cpu_s(process.pid)
        rate = await _listing_rate(port)
        cpu_ms = (_cpu_s(process.pid) - cpu_s) * 1000 / (rate * LISTING_S)
        rss_mb = _rss_mb(process.pid)
    _print(asked, rate=rate, cpu_ms=cpu_ms, rss_mb=rss_mb)


# A series goes to its end, now, wherever the path does not say so.
def _now(path: str) -> str:
    if "time-series" not in path:
        return path
    end = datetime.now(UTC).replace(microsecond=0)
    days = 1 if "strategies" in path else 7
    start = end - timedelta(days=days)
    return f"{path}&start_time={start:%Y-%m-%dT%H:%M:%SZ}&end_time={end:%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def _process(database_url: str, amqp_url: str, storage: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "RABBITMQ_URL": amqp_url,
        "MODEL_SERVICE_API_KEY": KEY,
        "MODEL_SERVICE_PORT": str(port),
        "MODEL_STORAGE_PATH": str(storage),
        "TRADING_STRATEGIES": "momentum,reversal,breakout,carry",
        "LISTEN_HOST": "127.0.0.1",
    }
    with (storage / "api.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"], env=environment, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


@asynccontextmanager
async def _client(port: int) -> AsyncIterator[Client]:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def _until_ready(client: Client) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            try:
                await client.get("/health/ready")
            except RuntimeError:
                await asyncio.sleep(0.1)
            else:
                return


async def _ask(client: Client, path: str) -> Asked:
    answers = [await client.get(path) for _ in range(10)]
    return await _timed(lambda: client.get(path), answer_bytes=len(answers[-1]))


async def _timed(ask: Callable[[], Awaitable[object]], *, answer_bytes: int = 0) -> Asked:
    seconds: list[float] = []
    while len(seconds) < ROUNDS and sum(seconds) < QUESTION_S:
        began = time.perf_counter()
        await ask()
        seconds.append(time.perf_counter() - began)
    return Asked(seconds=seconds, answer_bytes=answer_bytes)


# The same answers by a prepared statement on one connection: what no server in between could beat.
@asynccontextmanager
async def _floor(database_url: str) -> AsyncIterator[dict[str, Asked]]:
    connection = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
    try:
        page = await connection.prepare(
            "SELECT id, version, file_path, model_type, strategy_id, trained_at, training_config, is_active,"
            " verdict, (SELECT count(*) FROM model_versions)"
            " FROM model_versions ORDER BY trained_at DESC, id LIMIT 20"
        )
        series = await connection.prepare(
            "SELECT date_trunc('hour', executed_at), count(*),"
            " sum((performance ->> 'realized_pnl')::numeric) FROM execution_events"
            " WHERE strategy_id = 'momentum' AND executed_at >= timezone('UTC', now()) - interval '1 day'"
            " GROUP BY 1"
        )
        yield {
            "floor: the page": await _timed(page.fetch),
            "floor: the 24 h": await _timed(series.fetch),
        }
    finally:
        await connection.close()


async def _listing_rate(port: int) -> float:
    end = time.perf_counter() + LISTING_S

    async def asking() -> int:
        count = 0
        async with _client(port) as client:
            while time.perf_counter() < end:
                await client.get(PAGE)
                count += 1
        return count

    return sum(await asyncio.gather(*(asking() for _ in range(CLIENTS)))) / LISTING_S


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _print(asked: dict[str, Asked], *, rate: float, cpu_ms: float, rss_mb: float) -> None:
    for name, each in asked.items():
        size = f"   {each.answer_bytes / 1024:7.1f} KiB" if each.answer_bytes else ""
        print(f"{name:24} p50 {each.ms(50):7.2f} ms   p99 {each.ms(99):7.2f} ms{size}")
    ratio = asked["page of 20 versions"].ms(50) / asked["floor: the page"].ms(50)
    print(f"the page takes {ratio:.1f} times what the database needs for it")
    print(f"{rate:,.0f} pages a second by {CLIENTS} clients, {rss_mb:.0f} MB resident;", end=" ")
    print(f"a page takes {cpu_ms:.2f} ms of its processor time: {1000 / cpu_ms:,.0f} a second and core")
    found = {
        "page p50 ms": asked["page of 20 versions"].ms(50),
        "series p50 ms": asked["24 h of executions"].ms(50),
        "requests/s": rate,
        "RSS MB": rss_mb,
    }
    for name, goal in GOALS.items():
        met = found[name] >= goal if name == "requests/s" else found[name] < goal
        print(f"{name:16} {found[name]:9.2f}   {'within' if met else 'misses'} the goal of {goal:g}")
    print(f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores, client included")


def main() -> None:
    """Starts private servers, migrates, seeds, measures, stops them."""
    with bench_servers() as (database_url, amqp_url), TemporaryDirectory() as storage:
        asyncio.run(measure(database_url, amqp_url, Path(storage)))


if __name__ == "__main__":
    main()
