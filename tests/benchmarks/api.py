"""Goal 9: the API over HTTP on a database of years, beside what the same questions cost the database alone.

10,000 versions, 1,000,000 executions and 200,000 signals; one process of the API, asked over keep-alive
connections from this one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import asyncpg
from tests.benchmarks.processes import Watched, service
from tests.benchmarks.result import Result, at_least, at_most
from tests.benchmarks.servers import KEYS, Place, place
from tests.integration.seeded import NEWEST, seed

from sandbox.ports import free_port
from sandbox.servers import Servers

KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0"
ROUNDS = 3
REQUESTS = 150
"""Of a question a round, one after the other, as far as QUESTION_S lets them."""
QUESTION_S = 2.0
CLIENTS = 8
LISTING_S = 3.0
"""How long the listing is asked for by all clients at once."""
READY_S = 30.0

PAGE = "/api/v1/models?limit=20"
QUESTIONS = {
    "page of 20 of 10,000 versions": (PAGE, 5.0),
    "24 h over 1,000,000 executions": (
        "/api/v1/strategies/momentum/performance/time-series?granularity=hour",
        25.0,
    ),
    "last page by version": ("/api/v1/models?limit=20&offset=9980&sort=version", None),
    "a version whole": ("/api/v1/models/v500", None),
    "a week of live figures": (f"/api/v1/models/{NEWEST}/metrics/time-series?granularity=hour", None),
}
"""A path, and the limit of its p50 in ms."""
FLOORS = {
    "page of 20 of 10,000 versions": (
        "SELECT id, version, file_path, model_type, strategy_id, trained_at, training_config, is_active,"
        " verdict, (SELECT count(*) FROM model_versions)"
        " FROM model_versions ORDER BY trained_at DESC, id LIMIT 20"
    ),
    "24 h over 1,000,000 executions": (
        "SELECT date_trunc('hour', executed_at), count(*),"
        " sum((performance ->> 'realized_pnl')::numeric) FROM execution_events"
        " WHERE strategy_id = 'momentum' AND executed_at >= timezone('UTC', now()) - interval '1 day'"
        " GROUP BY 1"
    ),
}
"""The same answers by a prepared statement on one connection: what no server in between could beat."""


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


async def results(servers: Servers) -> AsyncIterator[Result]:
    """p50 of each question, requests a second of the listing, and memory."""
    with place(servers) as where, TemporaryDirectory() as home:
        await seed(where.database_url)
        port = free_port()
        with serving(where, Path(home), port) as process:
            async with connected(port) as client:
                await until_ready(client)
                for name, (path, limit_ms) in QUESTIONS.items():
                    yield await _asked(client, where, name, _now(path), limit_ms)
            for result in await _listing(port, process):
                yield result


async def _asked(client: Client, where: Place, name: str, path: str, limit_ms: float | None) -> Result:
    ours: list[float] = []
    floors: list[float] = []
    connection = await asyncpg.connect(where.database_url, server_settings={"timezone": "UTC"})
    try:
        floor = await connection.prepare(FLOORS[name]) if name in FLOORS else None
        await median_ms(lambda: client.get(path))
        for _ in range(ROUNDS):
            ours.append(await median_ms(lambda: client.get(path)))
            if floor is not None:
                floors.append(await median_ms(floor.fetch))
    finally:
        await connection.close()
    target = None if limit_ms is None else at_most(limit_ms)
    return Result(goal=f"9 {name}, p50", unit="ms", rounds=ours, floors=floors, target=target)


async def median_ms(ask: Callable[[], Awaitable[object]]) -> float:
    """Of REQUESTS one after the other, or of as many as QUESTION_S lets through."""
    seconds: list[float] = []
    while len(seconds) < REQUESTS and sum(seconds) < QUESTION_S:
        began = time.perf_counter()
        await ask()
        seconds.append(time.perf_counter() - began)
    return median(seconds) * 1000


async def _listing(port: int, process: Watched) -> list[Result]:
    rates: list[float] = []
    costs: list[float] = []
    for _ in range(ROUNDS):
        cpu_s = process.cpu_s()
        rate = await _listing_rate(port)
        rates.append(rate)
        costs.append((process.cpu_s() - cpu_s) * 1000 / (rate * LISTING_S))
    return [
        Result(
            goal=f"9 listing, {CLIENTS} clients", unit="requests/s", rounds=rates, target=at_least(1000.0)
        ),
        Result(goal="9 listing: processor time", unit="ms/request", rounds=costs),
        Result(goal="9 API: resident", unit="MB", rounds=[process.rss_mb()], target=at_most(150.0)),
    ]


# A series goes to its end, now, wherever the path does not say so.
def _now(path: str) -> str:
    if "time-series" not in path:
        return path
    end = datetime.now(UTC).replace(microsecond=0)
    days = 1 if "strategies" in path else 7
    start = end - timedelta(days=days)
    return f"{path}&start_time={start:%Y-%m-%dT%H:%M:%SZ}&end_time={end:%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def serving(where: Place, home: Path, port: int) -> Iterator[Watched]:
    """One process of the API over the place, its models in `home`."""
    environment = {
        **KEYS,
        "DATABASE_URL": where.database_url,
        "RABBITMQ_URL": where.amqp_url,
        "MODEL_SERVICE_API_KEY": KEY,
        "MODEL_SERVICE_PORT": str(port),
        "MODEL_STORAGE_PATH": str(home),
        "TRADING_STRATEGIES": "momentum,reversal,breakout,carry",
        "LISTEN_HOST": "127.0.0.1",
    }
    with service(["-m", "api"], port, environment, home / "api.log") as process:
        yield process


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """A keep-alive connection to whoever listens on the port within READY_S."""
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


async def until_ready(client: Client) -> None:
    """Returns once the API says so; TimeoutError where it does not within READY_S."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                await client.get("/health/ready")
            except RuntimeError:
                await asyncio.sleep(0.1)
            else:
                return


async def _listing_rate(port: int) -> float:
    end = time.perf_counter() + LISTING_S

    async def asking() -> int:
        count = 0
        async with connected(port) as client:
            while time.perf_counter() < end:
                await client.get(PAGE)
                count += 1
        return count

    return sum(await asyncio.gather(*(asking() for _ in range(CLIENTS)))) / LISTING_S
