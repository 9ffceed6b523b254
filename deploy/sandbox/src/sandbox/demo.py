"""`make demo`: the whole fleet on paper, from nothing, and what it does in plain words.

With ONCE=1 it ends at the acceptance point: one line of JSON last, exit code 0; or what was missing, and 1.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import msgspec
from pydantic import Field, PositiveFloat, SecretStr
from rich.console import Console

from common.settings import EXIT_BAD_CONFIGURATION, Port, load
from sandbox import story
from sandbox.candles import UnreadableCandles
from sandbox.core.market import edge_report
from sandbox.errors import SetupError
from sandbox.narration import Narrator
from sandbox.platform import open_market
from sandbox.platform_schema import create_platform_tables
from sandbox.ports import free_port
from sandbox.servers import FLOTILLA, Servers, private_servers
from sandbox.settings import MarketSettings
from sandbox.supervisor import Supervisor

POLL_S = 0.5
MAX_AGE_BARS = 20


class DemoSettings(MarketSettings):
    """The demo's own settings, beside the market's."""

    once: bool = False
    """End at the acceptance point."""
    demo_time_limit_seconds: PositiveFloat = 180.0
    """With ONCE: give up after so long, in seconds."""
    demo_signals_per_minute: Annotated[float, Field(gt=0)] = 30.0
    """Warm-up signals per minute over the fleet; beside real money the default is 1."""
    database_url: SecretStr | None = None
    """Use this PostgreSQL instead of a private one."""
    rabbitmq_url: SecretStr | None = None
    """Use this RabbitMQ instead of a private one."""
    postgres_port: Port | None = None
    """Port of the private PostgreSQL; unset: any free one."""
    rabbitmq_port: Port | None = None
    """Port of the private RabbitMQ; unset: any free one."""


class Timing(msgspec.Struct):
    """Seconds since the demo was called."""

    started: float
    first_signal: float | None = None

    def now_s(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.started


def main() -> None:
    """Runs the demo; see the module."""
    settings = load(DemoSettings)
    console = Console(highlight=False, soft_wrap=True)
    narrator = Narrator(console)
    timing = Timing(started=time.monotonic())
    try:
        _announce(settings, narrator)
        with private_servers(
            FLOTILLA / "demo",
            database_url=_revealed(settings.database_url),
            rabbitmq_url=_revealed(settings.rabbitmq_url),
            postgres_port=settings.postgres_port,
            rabbitmq_port=settings.rabbitmq_port,
            report=narrator.step,
        ) as servers:
            narrator.step("preparing the database: the platform's tables, then our migrations")
            asyncio.run(_prepare_platform(servers))
            _migrate(servers)
            code = asyncio.run(_tell(settings, servers, narrator, timing))
    except (SetupError, UnreadableCandles) as error:
        sys.stderr.write(f"\n{error}\n")
        raise SystemExit(EXIT_BAD_CONFIGURATION) from None
    except KeyboardInterrupt:
        console.print("\n[dim]stopped; everything that was started has ended[/dim]")
        raise SystemExit(130) from None
    raise SystemExit(code)


def _announce(settings: DemoSettings, narrator: Narrator) -> None:
    # Opened here too: a file that cannot be read should stop the demo before anything starts.
    market = open_market(settings)
    if settings.candles:
        narrator.step(f"replaying {', '.join(settings.candles)} as {', '.join(market.symbols)}")
    else:
        truth = edge_report(settings.sandbox_edge)
        narrator.step(
            f"synthetic market, seed {settings.seed}: whoever knew the truth would beat the majority class "
            f"({truth.majority_rate:.3f}) by {truth.lift:.3f}"
        )


async def _prepare_platform(servers: Servers) -> None:
    connection = await asyncpg.connect(servers.database_url)
    try:
        await create_platform_tables(connection)
    finally:
        await connection.close()


def _migrate(servers: Servers) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "migrations", "upgrade"],
        env={**os.environ, "DATABASE_URL": servers.database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SetupError(f"the database could not be migrated:\n{done.stderr or done.stdout}")


async def _tell(settings: DemoSettings, servers: Servers, narrator: Narrator, timing: Timing) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    began = datetime.now(UTC)
    async with (
        asyncpg.create_pool(servers.database_url, min_size=1, max_size=2) as database,
        _fleet(settings, servers, narrator, began) as addresses,
    ):
        narrator.step("health: " + "  ".join(f"{name} {url}/health" for name, url in addresses.items()))
        return await _follow(settings, database, narrator, timing, began=began, stop=stop)


@asynccontextmanager
async def _fleet(
    settings: DemoSettings, servers: Servers, narrator: Narrator, began: datetime
) -> AsyncIterator[dict[str, str]]:
    """Neighbours and services run, each as a process of its own; the block gets their addresses."""
    ports = {name: free_port() for name in ("sandbox", "api", "inference", "trainer", "exit_strategy")}
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "DATABASE_URL": servers.database_url,
        "RABBITMQ_URL": servers.rabbitmq_url,
        "SYMBOLS": ",".join(settings.chosen_symbols()),
        "SANDBOX_STARTED_AT": began.isoformat(),
        "FEATURE_SERVICE_PORT": str(ports["sandbox"]),
        "FEATURE_SERVICE_API_KEY": "sandbox",
        "MODEL_SERVICE_PORT": str(ports["api"]),
        "INFERENCE_PORT": str(ports["inference"]),
        "TRAINER_PORT": str(ports["trainer"]),
        "EXIT_STRATEGY_PORT": str(ports["exit_strategy"]),
        "WARMUP_SIGNAL_FREQUENCY": str(settings.demo_signals_per_minute),
        # A bar lasts half a second here: what an earlier run left in the queue is old sooner, too.
        "MARKET_DATA_MAX_AGE_SECONDS": str(MAX_AGE_BARS * settings.sandbox_bar_seconds),
        "MARKET_DATA_STALE_WARNING_THRESHOLD_SECONDS": str(MAX_AGE_BARS / 2 * settings.sandbox_bar_seconds),
    }

    def tell(name: str, line: str) -> None:
        narrator.service_line(name, line, datetime.now())  # noqa: DTZ005 - a person reads a wall clock

    async with Supervisor(logs=FLOTILLA / "logs", on_line=tell) as supervisor:
        for name in ports:
            await supervisor.start(name, [sys.executable, "-m", name], environment)
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


async def _follow(
    settings: DemoSettings,
    database: asyncpg.Pool,
    narrator: Narrator,
    timing: Timing,
    *,
    began: datetime,
    stop: asyncio.Event,
) -> int:
    seen = began.replace(tzinfo=None)
    while not stop.is_set():
        seen = await _tell_orders(database, narrator, seen)
        chapter = await story.told_so_far(database, began)
        if chapter.warmup_signals and timing.first_signal is None:
            timing.first_signal = timing.now_s()
        if settings.once and not story.missing(chapter):
            _print_result(chapter, timing)
            return 0
        if settings.once and timing.now_s() > settings.demo_time_limit_seconds:
            lacking = ", ".join(story.missing(chapter))
            sys.stderr.write(f"the demo did not see in {settings.demo_time_limit_seconds:.0f} s: {lacking}\n")
            return 1
        await _pause(stop)
    return 130


async def _tell_orders(database: asyncpg.Pool, narrator: Narrator, seen: datetime) -> datetime:
    results = await story.order_results(database, seen)
    for result in results:
        narrator.order(result, datetime.now())  # noqa: DTZ005 - a person reads a wall clock
    return results[-1].updated_at if results else seen


def _print_result(chapter: story.Chapter, timing: Timing) -> None:
    result = {
        **msgspec.to_builtins(chapter),
        "seconds_to_first_signal": round(timing.first_signal or timing.now_s(), 1),
        "seconds_total": round(timing.now_s(), 1),
    }
    sys.stdout.write(json.dumps(result) + "\n")


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), POLL_S)
    except TimeoutError:
        return


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


if __name__ == "__main__":
    main()
