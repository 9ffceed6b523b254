"""Beside whom: MLflow's listing of versions and MLServer's answers, measured in the same run as ours.

They are installed into an environment of their own in .flotilla when they are asked for: 1.4 GB. Their column
is "floor"; a floor it is not.
"""

import asyncio
import http.client
import json
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.benchmarks import api, footprint, processes
from tests.benchmarks.fitted_model import FEATURES, fitted
from tests.benchmarks.latency import Lap, decided
from tests.benchmarks.peer_client import MODEL, timed
from tests.benchmarks.processes import Watched, family_mb
from tests.benchmarks.result import Result, at_most, percentile
from tests.benchmarks.servers import place
from tests.benchmarks.stage import stage
from tests.integration.seeded import VERSIONS, seed

from sandbox.ports import free_port
from sandbox.servers import FLOTILLA, Servers

PACKAGES = ("mlflow==3.17.2", "mlserver==1.7.1", "mlserver-xgboost==1.7.1", "xgboost==3.2.0")
HOME = FLOTILLA / "peers"
ROUNDS = 3
REQUESTS = 300
"""To MLServer a round, each way."""
SYMBOLS = 100
VECTORS_PER_S = 100
"""To a worker."""
CALM_S = 20.0
"""MLflow's job workers start after it answers and take all processors meanwhile."""
AHEAD = 0.2
"""Of MLflow's time ours is to be at most this part."""

_COPIES = """
WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
INSERT INTO model_versions ({columns}) SELECT {values} FROM numbers, (SELECT * FROM model_versions LIMIT 1)
"""


async def listing(servers: Servers) -> AsyncIterator[Result]:
    """A page of 20 of 10,000 versions: our API on PostgreSQL, MLflow's tracking server on SQLite."""
    ours: list[float] = []
    theirs: list[float] = []
    await asyncio.to_thread(_install)
    with place(servers) as where, TemporaryDirectory() as home:
        await seed(where.database_url)
        port = free_port()
        with api.serving(where, Path(home), port) as process, _mlflow(Path(home)) as (mlflow, search):
            await asyncio.sleep(CALM_S)
            for _ in range(ROUNDS):
                ours.append(await _page_ms(port))
                theirs.append(median(timed(search, api.REQUESTS)) * 1000)
            memory = process.rss_mb(), family_mb(mlflow.pid)
    yield Result(
        goal=f"page of 20 of {VERSIONS:,} versions, p50, beside MLflow",
        unit="ms",
        rounds=ours,
        floors=theirs,
        target=at_most(AHEAD, of="ratio"),
    )
    yield Result(goal="API: memory, beside MLflow", unit="MB", rounds=[memory[0]], floors=[memory[1]])


async def serving(servers: Servers) -> AsyncIterator[Result]:
    """From a row to what follows of it: a worker over the broker, MLServer over HTTP and gRPC."""
    ours: list[Lap] = []
    theirs: dict[str, list[list[float]]] = {"rest": [], "grpc": []}
    await asyncio.to_thread(_install)
    with TemporaryDirectory() as home:
        began = time.perf_counter()
        with _mlserver(Path(home)) as (mlserver, ports):
            start_s = time.perf_counter() - began
            async with stage(servers, size=SYMBOLS) as here:
                with here.replica() as worker:
                    await here.warm(worker)
                    for _ in range(ROUNDS):
                        ours.append(await decided(here, worker, VECTORS_PER_S))
                        for way, seconds in _asked(ports).items():
                            theirs[way].append(seconds)
            mlserver_mb = family_mb(mlserver.pid)
    starts, memory = await footprint.measured(servers)
    for way, rounds in theirs.items():
        for percent in (50, 99):
            yield Result(
                goal=f"row to decision, p{percent}, beside MLServer's answer over {way.upper()}",
                unit="ms",
                rounds=[each.ms(percent) for each in ours],
                floors=[percentile(each, percent) * 1000 for each in rounds],
            )
    for name, unit, replicas, its in (
        ("start to ready", "s", starts, start_s),
        ("memory", "MB", memory, mlserver_mb),
    ):
        yield Result(
            goal=f"worker of one model: {name}, beside MLServer",
            unit=unit,
            rounds=replicas,
            floors=[its] * len(replicas),
        )


async def _page_ms(port: int) -> float:
    async with api.connected(port) as client:
        await api.until_ready(client)
        return await api.median_ms(lambda: client.get(api.PAGE))


def _install() -> None:
    uv = FLOTILLA / "uv" / "bin" / "uv"
    if not (HOME / "bin" / "python").exists():
        subprocess.run([uv, "venv", "--quiet", HOME], check=True)
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", HOME / "bin" / "python", *PACKAGES], check=True
    )


@contextmanager
def _mlflow(home: Path) -> Iterator[tuple[Watched, Callable[[], object]]]:
    """Its tracking server with as many versions as our API has, and how to ask it for a page of them."""
    port, database = free_port(), home / "mlflow.db"
    command = [
        *(str(HOME / "bin" / "mlflow"), "server", "--workers", "1"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", f"{home}/artifacts"),
    ]
    with processes.foreign(command, port, home / "mlflow.log") as mlflow:
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def ask(method: str, path: str, body: object = None) -> None:
            content = json.dumps(body)
            connection.request(
                method, f"/api/2.0/mlflow/{path}", content, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise RuntimeError(f"{path}: {answer.status} {text[:300]!r}")

        ask("POST", "registered-models/create", {"name": MODEL})
        ask("POST", "model-versions/create", {"name": MODEL, "source": "s3://bucket/model"})
        connection.close()  # It would not wait for whoever asks next; the next question opens another.
        _multiply(database)
        yield mlflow, lambda: ask("GET", "model-versions/search?max_results=20")


# As copies of the one version: ten thousand requests would take minutes.
def _multiply(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(model_versions)")]
        values = ["n" if name == "version" else name for name in columns]
        connection.execute(
            _COPIES.format(count=VERSIONS, columns=", ".join(columns), values=", ".join(values))
        )


@contextmanager
def _mlserver(home: Path) -> Iterator[tuple[Watched, tuple[int, int]]]:
    http_port, grpc_port = free_port(), free_port()
    (home / "settings.json").write_text(
        json.dumps(
            {
                "host": "127.0.0.1",
                "http_port": http_port,
                "grpc_port": grpc_port,
                "metrics_port": free_port(),
                "parallel_workers": 0,
            }
        )
    )
    (home / "model.json").write_bytes(fitted().native)
    (home / "model-settings.json").write_text(
        json.dumps(
            {
                "name": MODEL,
                "implementation": "mlserver_xgboost.XGBoostModel",
                "parameters": {"uri": "./model.json"},
            }
        )
    )
    command = [str(HOME / "bin" / "mlserver"), "start", str(home)]
    with processes.foreign(command, http_port, home / "mlserver.log") as mlserver:
        yield mlserver, (http_port, grpc_port)


def _asked(ports: tuple[int, int]) -> dict[str, list[float]]:
    client = Path(__file__).with_name("peer_client.py")
    arguments = map(str, (*ports, len(FEATURES), REQUESTS))
    command = [str(HOME / "bin" / "python"), str(client), *arguments]
    answered = subprocess.run(command, check=True, capture_output=True)
    found: dict[str, list[float]] = json.loads(answered.stdout)
    return found
