"""Processes under measurement: started as an operator would, watched through the operating system."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

READY_S = 180.0
"""A worker of a thousand models takes its time."""
STOP_S = 30.0


class Watched:
    """One running process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._process = process

    def cpu_s(self) -> float:
        """Processor time of all its threads so far, user and system."""
        return cpu_s(self.pid)

    def rss_mb(self) -> float:
        """Resident memory."""
        return rss_mb(self.pid)

    def pause(self) -> None:
        """It stands still, connections open, until it is resumed."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it stood."""
        os.kill(self.pid, signal.SIGCONT)

    def check(self) -> None:
        """Raises RuntimeError where it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"process {self.pid} ended with {self._process.returncode}")


class Service(Watched):
    """A service that answers on its port of health and metrics."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        super().__init__(process)
        self._url = f"http://127.0.0.1:{port}"

    def wait_ready(self) -> None:
        """It says so itself. Raises RuntimeError where it does not within READY_S."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            self.check()
            if self._get("/health/ready") is not None:
                return
            time.sleep(0.01)
        raise RuntimeError(f"process {self.pid} was not ready within {READY_S:g} s")

    def counts(self, name: str) -> dict[str, float]:
        """Of one counter, from /metrics: the value of each set of labels, as written there."""
        found = {}
        for line in (self._get("/metrics") or "").splitlines():
            sample, _, value = line.rpartition(" ")
            family, _, labels = sample.partition("{")
            if family == f"{name}_total":
                found[labels.rstrip("}")] = float(value)
        return found

    def count(self, name: str, label: str = "") -> float:
        """The sum over all sets of labels that hold `label`, as `reason="hold"`."""
        return sum(value for labels, value in self.counts(name).items() if label in labels)

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(self._url + path, timeout=5) as answer:
                body: bytes = answer.read()
        except (urllib.error.URLError, OSError):
            return None
        return body.decode()


@contextmanager
def service(command: list[str], port: int, environment: Mapping[str, str], log: Path) -> Iterator[Service]:
    """`python` with the command; its output goes to `log`."""
    with _running([sys.executable, *command], environment, log) as process:
        yield Service(process, port)


@contextmanager
def watched(command: list[str], log: Path) -> Iterator[Watched]:
    """The same of a process without a port; it has printed its first line."""
    with _running([sys.executable, *command], {}, log) as process:
        one, deadline = Watched(process), time.monotonic() + STOP_S
        while b"\n" not in log.read_bytes():
            one.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{command} did not begin")
            time.sleep(0.01)
        yield one


@contextmanager
def foreign(command: list[str], port: int, log: Path) -> Iterator[Watched]:
    """Somebody else's program, from when its port accepts connections."""
    with _running(command, {}, log) as process:
        one, deadline = Watched(process), time.monotonic() + READY_S
        while not _accepts(port):
            one.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{command} did not listen on {port}; see {log}")
            time.sleep(0.1)
        yield one


def cpu_s(pid: int) -> float:
    """Processor time of all threads of the process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Resident memory of the process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def family_mb(pid: int) -> float:
    """Memory of the process and its descendants; what they share counts once."""
    found = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    own = next(int(line.split()[1]) for line in found if line.startswith("Pss:")) / 1024
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(family_mb(int(child)) for child in children)


def _accepts(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _running(
    command: list[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=output)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)  # one that stands still would not hear the next
            process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
