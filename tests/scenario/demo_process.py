"""The demo as a process of its own, on the test's own servers."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from uuid import uuid4

MARK = "FLOTILLA_TEST_STORY"


class Demo:
    """The demo as a process of its own, on the test's own servers."""

    def __init__(self, database_url, amqp_url, *, module="sandbox.demo", **options):
        self.mark = uuid4().hex
        self._module = module
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "RABBITMQ_URL": amqp_url,
            MARK: self.mark,
            **options,
        }

    async def start(self):
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, limit_s=150):
        process = await self.start()
        out, err = await asyncio.wait_for(process.communicate(), limit_s)
        return process.returncode, out.decode(), err.decode()

    def kill(self, service):
        """The service's process dies at once."""
        [pid] = [pid for pid in self.remains() if _command_of(pid)[-2:] == ["-m", service]]
        os.kill(int(pid), signal.SIGKILL)

    def remains(self):
        wanted = f"{MARK}={self.mark}".encode()
        return [pid for pid in os.listdir("/proc") if pid.isdigit() and wanted in _environment_of(pid)]


async def heard(process, *words):
    """The first line of the demo that has all `words`; fails where the demo ends without it."""
    while line := (await process.stdout.readline()).decode():
        if all(word in line for word in words):
            return line
    raise AssertionError(f"the demo ended without a line with {words}")


def _command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def _environment_of(pid):
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
