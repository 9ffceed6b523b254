"""A platform to measure inference on: models in the registry, a rich account, a quiet Position Manager.

Every symbol has a strategy and a registered version of its own, as in production. What an operator limits on
purpose (signals a minute, money, one signal in flight) is set far out of the way; all else is as shipped.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import aio_pika
import msgspec
from faststream.rabbit import RabbitBroker
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tests.benchmarks import echo, processes
from tests.benchmarks.feeder import Feed, Feeding
from tests.benchmarks.fitted_model import FEATURES, THRESHOLD, fitted
from tests.benchmarks.processes import Service, Watched
from tests.benchmarks.servers import KEYS, Place, place
from tests.benchmarks.vectors import REGISTRY_VERSION, symbols
from tests.integration.platform_rows import Platform, flat_position_manager

from common import artifacts, bus, model_registry, topology, tracing
from common.artifacts import Manifest
from common.database import create_engine
from common.model_directory import ModelDirectory
from common.model_registry import Active, NewVersion
from common.settings import DatabaseSettings
from sandbox.ports import free_port
from sandbox.servers import Servers

RICH = "900000000000"
"""Free balance, quote currency."""
HORIZON_S = 300.0
SETTLE_S = 60.0
STILL_S = 0.7
"""Without a decision for so long nothing is in flight; looking costs the worker time of its own."""
WARM_ROUNDS = 3
"""Vectors of each symbol before anything counts: the first of a stream show no change yet."""
LIMITS = {
    "BALANCE_DATA_MAX_AGE_SECONDS": "86400",
    "FEATURE_STREAM_SILENCE_SECONDS": "86400",
    "MARKET_DATA_MAX_AGE_SECONDS": "600",
    "MODEL_SERVICE_MAX_POSITION_SIZE_RATIO": "1",
    "POSITION_CACHE_MAX_SIZE": "5000",
    "SIGNALS_PER_MINUTE_TRIP": "2000000000",
    "SIGNAL_GENERATION_BURST_ALLOWANCE": "1000000",
    "SIGNAL_GENERATION_RATE_LIMIT": "1000000000",
    "SIGNAL_IN_FLIGHT_TIMEOUT_SECONDS": "0.001",
}


class Stage:
    """One measurement's platform."""

    def __init__(self, where: Place, home: Path, channel: aio_pika.abc.AbstractChannel, size: int) -> None:
        self.where = where
        self.channel = channel
        self.size = size
        """How many symbols, and strategies, there are."""
        self.platform = Platform(where.database_url)
        self.manager_port = 0
        self._home = home
        self._numbers = iter(range(10_000))
        self._store = ModelDirectory(home / "models")

    @contextmanager
    def replica(self, *, module: str = "inference", prefetch: int | None = None) -> Iterator[Service]:
        """One worker, ready, by the entry point that is shipped, or `module` around it.

        It takes `prefetch` vectors ahead; None: as many as it does as shipped.
        """
        port = free_port()
        environment = {
            **LIMITS,
            "DATABASE_URL": self.where.database_url,
            "RABBITMQ_URL": self.where.amqp_url,
            "INFERENCE_PORT": str(port),
            "MODEL_STORAGE_PATH": str(self._home / "models"),
            "TRADING_STRATEGIES": ",".join(map(_strategy_of, symbols(self.size))),
            "STRATEGIES_FILE": str(self._home / "strategies.toml"),
            "POSITION_MANAGER_PORT": str(self.manager_port),
            **({} if prefetch is None else {"FEATURE_STREAM_PREFETCH": str(prefetch)}),
            **KEYS,
        }
        log = self._home / f"inference-{next(self._numbers)}.log"
        with processes.service(["-m", module], port, environment, log) as one:
            one.wait_ready()
            yield one

    @contextmanager
    def echo(self) -> Iterator[tuple[Watched, Path]]:
        """A raw echo beside it, and the file with its latencies, there once it has ended."""
        number = next(self._numbers)
        found = self._home / f"echo-{number}.json"
        command = ["-m", "tests.benchmarks.echo", self.where.amqp_url, str(found)]
        with processes.watched(command, self._home / f"echo-{number}.log") as one:
            yield one, found

    def feed(
        self,
        queue: str,
        count: int,
        *,
        per_s: float = 0.0,
        buys: float = 0.0,
        first_buys: int = 0,
    ) -> Feeding:
        """A feeder begins to publish so many vectors, `per_s` of them a second, 0: at once."""
        return Feeding(
            Feed(
                amqp_url=self.where.amqp_url,
                queue=queue,
                rows=str(self._home / "rows.json"),
                symbols=self.size,
                count=count,
                per_s=per_s,
                buys=buys,
                first_buys=first_buys,
            )
        )

    async def warm(self, *replicas: Service) -> None:
        """Every symbol's stream is known to move, and every path was taken once."""
        for one in replicas:
            for other in replicas:
                other.pause()
            one.resume()
            await self.feed(topology.FEATURES_LIVE.name, self.size * WARM_ROUNDS, buys=0.02).finished()
            await self.settled(one)
        for one in replicas:
            one.resume()

    async def settled(self, *replicas: Service) -> None:
        """The queue is empty, and the replicas have decided on all that they took from it."""
        deadline, before = time.monotonic() + SETTLE_S, -1.0
        while time.monotonic() < deadline:
            if await self.depth(topology.FEATURES_LIVE.name):
                await asyncio.sleep(0.05)
                continue
            decided = sum(decisions(one) for one in replicas)
            if decided == before:
                return
            before = decided
            await asyncio.sleep(STILL_S)
        raise RuntimeError(f"vectors were not decided on within {SETTLE_S:g} s")

    async def depth(self, queue: str) -> int:
        """Messages that wait in the queue."""
        found = await self.channel.declare_queue(queue, durable=True, passive=True)
        return found.declaration_result.message_count or 0

    async def cleared(self) -> None:
        """No signal waits for an Order Manager that is not there, and the newest balance shows the last."""
        for queue in (topology.TRADING_SIGNALS.name, topology.FEATURES_LIVE.name, echo.TAKES):
            found = await self.channel.declare_queue(queue, durable=True)
            await found.purge()
        await self.platform.balance(RICH)

    async def trained(self, symbol: str, engine: AsyncEngine) -> str:
        """One more version of the symbol's strategy, registered and not active."""
        async with engine.begin() as connection:
            return await self._train(connection, symbol)

    async def activated(self, version: str, symbol: str, engine: AsyncEngine, broker: RabbitBroker) -> None:
        """The symbol's strategy trades with the version, and inference was told."""
        async with engine.begin() as connection:
            active = await _activate(connection, version, symbol)
        await bus.announce(broker, topology.MODEL_ACTIVATED, model_registry.announced(active, tracing.new()))

    def engine(self) -> AsyncEngine:
        """Of the stage's database, to be disposed of."""
        settings = DatabaseSettings(database_url=SecretStr(self.where.database_url))
        return create_engine(settings, application="benchmark")

    async def build(self) -> None:
        """The neighbours' tables, every version, and the files that workers and feeders read."""
        await self.platform.open(available=RICH)
        rows = msgspec.json.encode(fitted().rows)
        (self._home / "rows.json").write_bytes(rows)
        tables = [f'[{_strategy_of(symbol)}]\nsymbols = ["{symbol}"]\n' for symbol in symbols(self.size)]
        (self._home / "strategies.toml").write_text("\n".join(tables))
        engine = self.engine()
        try:
            async with engine.begin() as connection:
                for symbol in symbols(self.size):
                    await _activate(connection, await self._train(connection, symbol), symbol)
        finally:
            await engine.dispose()

    async def _train(self, connection: AsyncConnection, symbol: str) -> str:
        version = await model_registry.next_version(connection)
        manifest = _manifest(version, symbol)
        sha256 = artifacts.write(self._store, version, manifest, {artifacts.MODEL: fitted().onnx})
        new = NewVersion(
            version=version,
            strategy_id=manifest.strategy_id,
            model_type=manifest.model_type,
            sha256=sha256,
            trained_at=manifest.trained_at,
            training_duration_seconds=1,
            training_dataset_size=1,
            training_config={},
            verdict="accepted",
            verdict_sentence="for a measurement",
            evidence={},
            run_id=uuid4(),
        )
        await model_registry.add(connection, new, [])
        return version


@asynccontextmanager
async def stage(servers: Servers, *, size: int) -> AsyncIterator[Stage]:
    """A platform of so many symbols with a model each; gone after the block."""
    async with AsyncExitStack() as stack:
        where = stack.enter_context(place(servers))
        home = Path(stack.enter_context(TemporaryDirectory()))
        connection = await stack.enter_async_context(await aio_pika.connect(where.amqp_url))
        one = Stage(where, home, await connection.channel(), size)
        one.manager_port = await stack.enter_async_context(flat_position_manager())
        await one.build()
        for queue in (topology.TRADING_SIGNALS.name, topology.FEATURES_LIVE.name, echo.TAKES):
            await one.channel.declare_queue(queue, durable=True)
        yield one


def decisions(replica: Service) -> float:
    """How many vectors the replica has decided on: signals and skips together."""
    return replica.count("flotilla_signals") + replica.count("flotilla_skips")


async def _activate(connection: AsyncConnection, version: str, symbol: str) -> Active:
    return await model_registry.activate(
        connection, version, strategy_id=_strategy_of(symbol), actor="benchmark", reason="to be measured"
    )


def _strategy_of(symbol: str) -> str:
    return f"of_{symbol.lower()}"


def _manifest(version: str, symbol: str) -> Manifest:
    return Manifest(
        version=version,
        strategy_id=_strategy_of(symbol),
        symbol=symbol,
        model_type="xgboost",
        task="classification",
        target="classification",
        features=FEATURES,
        optional_features=(),
        medians=dict.fromkeys(FEATURES, 0.0),
        labels=(-1, 0, 1),
        output_name="probabilities",
        horizon_s=HORIZON_S,
        label_threshold=0.001,
        threshold=THRESHOLD,
        calibration=(),
        class_rates=(0.16, 0.68, 0.16),
        baselines={"majority": 0.68},
        dataset_id=str(uuid4()),
        dataset_sha256={},
        feature_registry_version=REGISTRY_VERSION,
        libraries={},
        golden=fitted().golden,
        trained_at=datetime.now(UTC),
    )
