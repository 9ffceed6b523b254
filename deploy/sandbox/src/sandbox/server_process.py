"""A private server's process: started in a group of its own, guarded, logged, stopped."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sandbox.errors import NotAnswering
from sandbox.guardian import Group, Guardian


class ServerProcess:
    """One server program; may be started again after it ended."""

    def __init__(self, name: str, guardian: Guardian, log: Path, ask: int = signal.SIGTERM) -> None:
        self.name = name
        self._guardian = guardian
        self._log = log
        self._ask = ask
        self._process: subprocess.Popen[bytes] | None = None
        self._group: Group | None = None

    @property
    def pid(self) -> int:
        """The running server's process. Raises NotAnswering if it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise NotAnswering(f"the private {self.name} does not run; its log is {self._log}")
        return self._process.pid

    def launch(self, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        """The server is starting; its output goes to the log."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._group = self._guardian.add(self._process.pid, self._ask)

    def wait_ready(self, answers: Callable[[], object], limit_s: float) -> None:
        """`answers` no longer raises. Raises NotAnswering, with the log's end, if that never happens."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                answers()
            except Exception as failure:  # noqa: BLE001 - whatever a half-started server makes a client raise
                if self._process is None or self._process.poll() is not None:
                    raise self._not_ready("ended while starting") from None
                if time.monotonic() > deadline:
                    raise self._not_ready(f"was not ready after {limit_s:.0f} s ({failure})") from None
                time.sleep(0.1)
            else:
                return

    def stop(self, grace_s: float = 15.0) -> None:
        """Nothing of the server runs afterwards: asked to stop, killed after `grace_s` seconds."""
        if self._process is None or self._group is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.send_signal(self._ask)
            self._process.wait(grace_s)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        if self._process is None or self._group is None:
            return
        self._group.send(signal.SIGKILL)
        self._process.wait()
        self._guardian.remove(self._process.pid)

    def _not_ready(self, reason: str) -> NotAnswering:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return NotAnswering(
            "\n  ".join([f"the private {self.name} {reason}; {self._log} ends with:", *lines[-12:]])
        )
