"""Where a story on paper is played: servers, a fresh run on them, and how it begins and ends for a person.

Ctrl-C ends it with 130, what cannot work with 78 and a sentence on stderr.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
from pydantic import SecretStr

from common.settings import EXIT_BAD_CONFIGURATION, Port, SettingsGroup
from sandbox import paper_run
from sandbox.candles import UnreadableCandles
from sandbox.errors import SetupError
from sandbox.fleet import Fleet
from sandbox.narration import Narrator
from sandbox.paper_run import PaperRun
from sandbox.servers import FLOTILLA, private_servers

API_TIMEOUT_S = 5.0


class ServerSettings(SettingsGroup):
    """Which servers a story is played on."""

    database_url: SecretStr | None = None
    """Use this PostgreSQL instead of a private one."""
    rabbitmq_url: SecretStr | None = None
    """Use this RabbitMQ instead of a private one."""
    postgres_port: Port | None = None
    """Port of the private PostgreSQL; unset: any free one."""
    rabbitmq_port: Port | None = None
    """Port of the private RabbitMQ; unset: any free one."""


@contextmanager
def told_to_a_person() -> Iterator[None]:
    """What stops a story ends the process with a sentence instead of a traceback."""
    try:
        yield
    except (SetupError, UnreadableCandles) as error:
        sys.stderr.write(f"\n{error}\n")
        raise SystemExit(EXIT_BAD_CONFIGURATION) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def play(
    settings: ServerSettings, place: str, narrator: Narrator, tell: Callable[[PaperRun], Awaitable[int]]
) -> int:
    """The exit code of `tell`, which gets a prepared run under `.flotilla/<place>`."""
    with private_servers(
        FLOTILLA / place,
        database_url=_revealed(settings.database_url),
        rabbitmq_url=_revealed(settings.rabbitmq_url),
        postgres_port=settings.postgres_port,
        rabbitmq_port=settings.rabbitmq_port,
        report=narrator.step,
    ) as servers:
        run = asyncio.run(paper_run.begin(servers, FLOTILLA / place / "runs", datetime.now(UTC)))
        narrator.step(f"preparing {run.strategy_id}: the platform's tables, then our migrations")

        async def whole() -> int:
            await paper_run.prepare(run)
            return await tell(run)

        return asyncio.run(whole())


def stop_asked() -> asyncio.Event:
    """Is set by SIGINT or SIGTERM, from now on."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """So much time has passed, or `stop` is set."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


def api_client(fleet: Fleet) -> httpx.AsyncClient:
    """Speaks to the fleet's API as its operator."""
    return httpx.AsyncClient(
        base_url=fleet.addresses["api"], headers={"X-API-Key": fleet.api_key}, timeout=API_TIMEOUT_S
    )


def wall_clock() -> datetime:
    """Now, as a clock on the wall shows it."""
    return datetime.now().astimezone()


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
