"""Private servers: a PostgreSQL and a RabbitMQ for the demo and the tests.

A server whose URL is given is used as it is, and only asked whether it answers. The others are
started under `home`, on loopback ports, with passwords of their own; data, ports and passwords
stay there between runs. Programs are fetched once per checkout. Nothing outlives the owner.
"""

import fcntl
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sandbox import postgres, rabbitmq
from sandbox.blocking import blocking
from sandbox.errors import NotAnswering, SetupError
from sandbox.guardian import Guardian
from sandbox.postgres import PrivatePostgres, postgres_binaries
from sandbox.rabbitmq import PrivateRabbitmq, rabbitmq_tree

CHECKOUT = Path(__file__).resolve().parents[4]
FLOTILLA = CHECKOUT / ".flotilla"
"""Everything this checkout fetches, writes or runs lies here."""

_RELEASE_LIMIT_S = 30.0


@dataclass(frozen=True)
class Servers:
    """Where the servers answer; `postgres` and `rabbitmq` are None where a URL was given."""

    database_url: str
    rabbitmq_url: str
    postgres: PrivatePostgres | None
    rabbitmq: PrivateRabbitmq | None


@contextmanager
def private_servers(
    home: Path,
    *,
    postgres_major: int = postgres.WHEEL_MAJOR,
    database_url: str | None = None,
    rabbitmq_url: str | None = None,
    postgres_port: int | None = None,
    rabbitmq_port: int | None = None,
    packages: Path = FLOTILLA / "packages",
    report: Callable[[str], None],
) -> Iterator[Servers]:
    """Both servers answer inside the block; the private ones are stopped after it.

    A port that is given must be free; otherwise one is chosen and kept. Raises SetupError.
    """
    if database_url:
        _require(postgres.answers(database_url), "DATABASE_URL", database_url)
    if rabbitmq_url:
        _require(rabbitmq.answers(rabbitmq_url), "RABBITMQ_URL", rabbitmq_url)
    if database_url and rabbitmq_url:
        yield Servers(database_url, rabbitmq_url, postgres=None, rabbitmq=None)
        return
    with ExitStack() as stack:
        guardian = stack.enter_context(_guardian_of(home))
        broker = database = None
        if not rabbitmq_url:
            tree = rabbitmq_tree(packages, report)
            broker = PrivateRabbitmq(home / "rabbitmq", tree, guardian, rabbitmq_port, packages.parent)
        if not database_url:
            database = _postgres(home, guardian, packages, report, major=postgres_major, port=postgres_port)
        started = [server for server in (broker, database) if server]
        report("starting private " + " and ".join(server.name for server in started))
        for server in started:
            stack.callback(server.stop)
            server.launch()
        for server in started:
            server.wait_ready()
        yield Servers(
            database_url=database.url if database else str(database_url),
            rabbitmq_url=broker.url if broker else str(rabbitmq_url),
            postgres=database,
            rabbitmq=broker,
        )


@contextmanager
def private_postgres(home: Path, *, report: Callable[[str], None]) -> Iterator[PrivatePostgres]:
    """The PostgreSQL of `private_servers(home)` alone. Raises SetupError."""
    with ExitStack() as stack:
        guardian = stack.enter_context(_guardian_of(home))
        packages = FLOTILLA / "packages"
        database = _postgres(home, guardian, packages, report, major=postgres.WHEEL_MAJOR, port=None)
        stack.callback(database.stop)
        database.launch()
        database.wait_ready()
        yield database


def _postgres(
    home: Path,
    guardian: Guardian,
    packages: Path,
    report: Callable[[str], None],
    *,
    major: int,
    port: int | None,
) -> PrivatePostgres:
    binaries = postgres_binaries(major, packages, report)
    return PrivatePostgres(home / f"postgres-{major}", binaries, guardian, port, packages.parent)


def _require(answer: Coroutine[Any, Any, None], variable: str, url: str) -> None:
    try:
        blocking(answer)
    except Exception as failure:  # noqa: BLE001 - drivers raise many kinds
        raise NotAnswering(
            f"{variable} is set, but nothing usable answers at {_without_password(url)} "
            f"({_without_secret(str(failure) or type(failure).__name__, url)}): start that server, correct "
            f"{variable}, or unset it to have a private one started"
        ) from None


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}{at}{place}", query="").geturl()


def _without_secret(text: str, url: str) -> str:
    password = urlsplit(url).password
    return text.replace(password, "***") if password else text


@contextmanager
def _guardian_of(home: Path) -> Iterator[Guardian]:
    # The guardian holds the lock too: a directory is free only when the last owner's servers are gone.
    home.mkdir(parents=True, exist_ok=True)
    with (home / "owner").open("a+") as lock:
        _acquire(lock.fileno(), home)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        with Guardian(keep_open=(lock.fileno(),)) as guardian:
            yield guardian


def _acquire(lock: int, home: Path) -> None:
    deadline = time.monotonic() + _RELEASE_LIMIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = (home / "owner").read_text().strip()
            if Path(f"/proc/{owner}").exists() or time.monotonic() > deadline:
                raise SetupError(
                    f"{home} is in use by process {owner}: stop it (make clean stops everything)"
                ) from None
            time.sleep(0.1)
        else:
            return
