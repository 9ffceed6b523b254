"""Guardian: nothing outlives its owner, however the owner dies.

A guardian is a small process in a session of its own. Its owner tells it over a pipe which
process groups it answers for; when the pipe closes, with the owner, the guardian asks the
groups that are left to stop, waits, and kills them. A group is known by its leader's pid *and*
start time, so that a pid that was used again is never hit. Standard library only: the guardian
runs this file alone, and `python guardian.py stop DIRECTORY` ends whatever still runs for it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

MARK = "FLOTILLA_PROCESS_OF"
"""Environment variable that marks a process as belonging to the directory it names."""


@dataclass(frozen=True)
class Group:
    """A process group whose leader started at `started`, in clock ticks after boot."""

    leader: int
    started: int
    ask: int = signal.SIGTERM

    def members(self) -> list[int]:
        """Pids of the group that still run; none if the leader's pid now is another process."""
        found = []
        for pid in _pids():
            stat = _stat(pid)
            if stat is None or stat.group != self.leader or stat.is_dead:
                continue
            if pid == self.leader and stat.started != self.started:
                return []
            found.append(pid)
        return found

    def send(self, number: int) -> None:
        """Every member that still runs gets the signal."""
        for pid in self.members():
            _send(pid, number)


class Guardian:
    """The owner's end: `add` each process group after its start, `remove` it after its end."""

    def __init__(self, grace_s: float = 10.0, keep_open: tuple[int, ...] = ()) -> None:
        command = [sys.executable, "-I", "-S", __file__, "guard", str(grace_s)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=keep_open,
        )
        self._groups: dict[int, Group] = {}

    @property
    def pid(self) -> int:
        """The guardian's own process."""
        return self._process.pid

    def add(self, leader: int, ask: int = signal.SIGTERM) -> Group:
        """The guardian answers for the group of our child `leader`; `ask` is the signal to stop it."""
        stat = _stat(leader)
        group = Group(leader, stat.started if stat else 0, ask)
        self._groups[leader] = group
        self._tell(f"add {group.leader} {group.started} {group.ask}")
        return group

    def remove(self, leader: int) -> None:
        """The group of `leader` is gone."""
        if self._groups.pop(leader, None) is not None:
            self._tell(f"remove {leader}")

    def close(self) -> None:
        """Every group that was not removed is stopped, and so is the guardian."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()


def end(groups: Iterable[Group], grace_s: float) -> None:
    """No member of the groups runs afterwards: asked first, killed after `grace_s` seconds."""
    groups = list(groups)
    for group in groups:
        group.send(group.ask)
    if not _until(lambda: not any(group.members() for group in groups), grace_s):
        for group in groups:
            group.send(signal.SIGKILL)


def stop_all(directory: Path, grace_s: float = 30.0) -> None:
    """No process marked as belonging to `directory` runs afterwards.

    Those that no other of them started are asked, and end the rest in good order; whatever is
    left after `grace_s` seconds is killed.
    """
    marked = _marked(directory)
    for pid, stat in marked.items():
        if stat.parent not in marked:
            _send(pid, signal.SIGINT if _name(pid) == "postgres" else signal.SIGTERM)
    if not _until(lambda: not _marked(directory), grace_s):
        for pid in _marked(directory):
            _send(pid, signal.SIGKILL)


def _guard(grace_s: float) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, Group] = {}
    for line in sys.stdin:
        match line.split():
            case ["add", leader, started, ask]:
                groups[int(leader)] = Group(int(leader), int(started), int(ask))
            case ["remove", leader]:
                groups.pop(int(leader), None)
    end(groups.values(), grace_s)


@dataclass(frozen=True)
class _Stat:
    parent: int
    group: int
    started: int
    is_dead: bool


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name in brackets may hold spaces
    return _Stat(
        parent=int(fields[1]), group=int(fields[2]), started=int(fields[19]), is_dead=fields[0] in "ZX"
    )


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _marked(directory: Path) -> dict[int, _Stat]:
    # PostgreSQL overwrites its environment with its title: it is known by its program's place.
    mark = f"{MARK}={directory}".encode()
    packages = (directory / "packages").resolve()
    found = {}
    for pid in _pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            program = Path(os.readlink(f"/proc/{pid}/exe"))
        except OSError:
            continue
        stat = _stat(pid)
        is_ours = mark in environment or program.is_relative_to(packages)
        if is_ours and stat is not None and not stat.is_dead and pid != os.getpid():
            found[pid] = stat
    return found


def _until(holds: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["guard", grace]:
            _guard(float(grace))
        case ["stop", place]:
            stop_all(Path(place).absolute())
        case _:
            sys.exit("usage: guardian.py guard GRACE_S | guardian.py stop DIRECTORY")
