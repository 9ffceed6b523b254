"""Debian packages, unpacked privately: no root, and nothing on the system changes.

apt-get resolves and downloads with lists, cache and status of its own; `dpkg -x` unpacks; no
maintainer script ever runs. The private status holds what is installed here, without its
demands, so that only missing packages are fetched and nothing installed can be in the way.
Standard library only: the bootstrap uses it too.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.errors import Missing

_STATUS = Path("/var/lib/dpkg/status")
_KEPT_FIELDS = ("Package:", "Status:", "Architecture:", "Version:", "Multi-Arch:", "Provides:")


def unpack(
    package: str,
    into: Path,
    *,
    own: tuple[str, ...],
    report: Callable[[str], None],
    beside: tuple[str, ...] = (),
) -> None:
    """`into` holds `package`, those `beside` it and everything they need that this machine lacks.

    Packages whose name starts with one of `own` are unpacked even when they are installed. Package
    lists are kept in `into`/../apt. Does nothing when `into` exists. Raises Missing.
    """
    if into.is_dir():
        return
    for program in ("apt-get", "apt-config", "dpkg"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is not on this machine, so Debian's {package} cannot be fetched")
    into.parent.mkdir(parents=True, exist_ok=True)
    with only_one(into.parent / "unpacking.lock"), tempfile.TemporaryDirectory(dir=into.parent) as work:
        if into.is_dir():  # somebody else was faster
            return
        report(f"fetching Debian's {package}")
        tree = Path(work) / "tree"
        tree.mkdir()
        wanted = (package, *beside)
        for archive in _download(wanted, Path(work) / "archives", into.parent / "apt", own, report):
            _run(["dpkg", "-x", str(archive), str(tree)], f"cannot unpack {archive.name}")
        tree.rename(into)


def library_path(tree: Path) -> str:
    """The directories of an unpacked `tree` that hold shared libraries, as LD_LIBRARY_PATH."""
    found = [*tree.glob("usr/lib/*-linux-gnu*"), *tree.glob("lib/*-linux-gnu*")]
    return ":".join(str(directory) for directory in found)


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Waits until no other process is inside the block with the same lock file."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(
    packages: tuple[str, ...],
    archives: Path,
    apt: Path,
    own: tuple[str, ...],
    report: Callable[[str], None],
) -> list[Path]:
    for directory in (apt / "lists" / "partial", archives / "partial"):
        directory.mkdir(parents=True, exist_ok=True)
    (apt / "status").write_text(_installed_without(own), encoding="utf-8")
    configuration = _configure(apt, archives)
    environment = {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C"}
    install = ["apt-get", "install", "--download-only", "--yes", "--no-install-recommends", *packages]
    if not any((apt / "lists").glob("*Packages*")) or not _works(install, environment):
        report("reading Debian's package lists")
        _run(["apt-get", "update"], "cannot read Debian's package lists", environment)
        _run(install, f"cannot fetch Debian's {packages[0]}", environment)
    return sorted(archives.glob("*.deb"))


def _configure(apt: Path, archives: Path) -> Path:
    # The system's own settings (sources, proxies), less its hooks, which would touch the system.
    system = _run(["apt-config", "dump"], "cannot read apt's configuration")
    lines = [line for line in system.splitlines() if "-Invoke" not in line and "Pre-Install" not in line]
    lines += [
        'Dir::Etc::Parts "/dev/null";',
        'Dir::Etc::Main "/dev/null";',
        f'Dir::State "{apt}";',
        f'Dir::State::status "{apt / "status"}";',
        f'Dir::Cache "{apt}";',
        f'Dir::Cache::archives "{archives}";',
        'APT::Sandbox::User "";',
        'Debug::NoLocking "true";',
    ]
    path = apt / "apt.conf"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _installed_without(own: tuple[str, ...]) -> str:
    if not _STATUS.is_file():
        return ""
    stanzas = _STATUS.read_text(encoding="utf-8").split("\n\n")
    kept = [stanza for stanza in stanzas if not stanza.startswith(tuple(f"Package: {name}" for name in own))]
    return "\n\n".join("\n".join(_without_demands(stanza)) for stanza in kept) + "\n"


def _without_demands(stanza: str) -> Iterator[str]:
    return (line for line in stanza.splitlines() if line.startswith(_KEPT_FIELDS))


def _works(command: list[str], environment: dict[str, str]) -> bool:
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def _run(command: list[str], failure: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[
            -1
        ]
        raise Missing(f"{failure}: {last}")
    return done.stdout
