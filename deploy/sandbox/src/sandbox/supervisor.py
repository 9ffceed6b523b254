"""Supervisor: services as processes of their own, restarted when they die, gone when we are.

A service that ends by itself is started again after a delay that doubles from try to try and
falls back once it stayed alive. Output goes, line by line, to a callback and to a log file. On
leaving the block every service is asked to stop, and killed when its grace is over; a guardian
does the same should the supervisor itself be killed.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.errors import Missing
from sandbox.guardian import Group, Guardian

_LONGEST_LINE = 65_536


@dataclass(frozen=True)
class Backoff:
    """Seconds before a restart: `first_s`, then doubled up to `longest_s`, anew after `settled_s` alive."""

    first_s: float = 0.5
    longest_s: float = 10.0
    settled_s: float = 30.0

    def delay_s(self, deaths_in_a_row: int) -> float:
        """The delay after the n-th death in a row, n from 1."""
        return min(self.longest_s, self.first_s * 2.0 ** min(deaths_in_a_row - 1, 30))


class Supervisor:
    """Runs services inside its `async with` block."""

    def __init__(
        self,
        logs: Path,
        on_line: Callable[[str, str], None],
        backoff: Backoff | None = None,
        grace_s: float = 10.0,
    ) -> None:
        self._logs = logs
        self._on_line = on_line
        self._backoff = backoff or Backoff()
        self._grace_s = grace_s
        self._services: dict[str, _Service] = {}
        self._guardian: Guardian

    async def start(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], *, grace_s: float | None = None
    ) -> None:
        """The service runs, with exactly the environment `env`, and will be restarted when it dies.

        Raises Missing if its program cannot be started at all.
        """
        if name in self._services:
            raise ValueError(f"{name} is already supervised")
        service = _Service(name, tuple(argv), dict(env), self._grace_s if grace_s is None else grace_s)
        service.process = await self._launch(service)
        self._services[name] = service
        service.watch = asyncio.create_task(self._keep_alive(service), name=f"supervise {name}")

    async def stop(self, name: str) -> None:
        """The service does not run afterwards, nor is it restarted."""
        service = self._services.pop(name)
        service.stopping.set()
        if service.process is not None and service.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                service.process.terminate()
        assert service.watch is not None
        try:
            async with asyncio.timeout(service.grace_s):
                await asyncio.shield(service.watch)
        except TimeoutError:
            if service.group is not None:
                service.group.send(signal.SIGKILL)
            await service.watch

    def pid(self, name: str) -> int | None:
        """The service's process; None while it waits for its restart."""
        process = self._services[name].process
        return process.pid if process is not None and process.returncode is None else None

    def restarts(self, name: str) -> int:
        """How often the service was started again."""
        return self._services[name].restarts

    async def __aenter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._guardian = Guardian(grace_s=self._grace_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await asyncio.gather(*(self.stop(name) for name in list(self._services)))
        finally:
            await asyncio.to_thread(self._guardian.close)

    async def _keep_alive(self, service: "_Service") -> None:
        deaths_in_a_row = 0
        while True:
            assert service.process is not None
            started = time.monotonic()
            status = await service.process.wait()
            self._clean_up(service)
            await service.drain()
            if service.stopping.is_set():
                return
            settled = time.monotonic() - started >= self._backoff.settled_s
            deaths_in_a_row = 1 if settled else deaths_in_a_row + 1
            delay_s = self._backoff.delay_s(deaths_in_a_row)
            self._say(service.name, f"{_ending(status)}; starting again in {delay_s:g} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await service.stopping.wait()
            if service.stopping.is_set():
                return
            try:
                service.process = await self._launch(service)
            except Missing as reason:
                self._say(service.name, str(reason))
                continue
            service.restarts += 1
            if service.stopping.is_set():  # stopped during the launch
                service.process.terminate()

    async def _launch(self, service: "_Service") -> asyncio.subprocess.Process:
        # A pipe of our own: with asyncio's, a grandchild that keeps it open would hide the death.
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *service.argv,
                env=service.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,
            )
        except OSError as reason:
            os.close(read_end)
            raise Missing(f"cannot start {service.name} ({service.argv[0]}): {reason.strerror}") from reason
        finally:
            os.close(write_end)
        service.group = self._guardian.add(process.pid)
        service.output = asyncio.create_task(
            self._pump(service.name, read_end), name=f"output of {service.name}"
        )
        return process

    def _clean_up(self, service: "_Service") -> None:
        # What a dead service started in its group must not live on beside the next one.
        if service.group is not None:
            service.group.send(signal.SIGKILL)
            self._guardian.remove(service.group.leader)

    async def _pump(self, name: str, read_end: int) -> None:
        async for line in _lines(read_end):
            self._say(name, line)

    def _say(self, name: str, line: str) -> None:
        with (self._logs / f"{name}.log").open("a", encoding="utf-8") as log:
            log.write(line + "\n")
        self._on_line(name, line)


@dataclass
class _Service:
    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    grace_s: float
    restarts: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    group: Group | None = None
    output: asyncio.Task[None] | None = None
    watch: asyncio.Task[None] | None = None

    async def drain(self) -> None:
        """Its last lines were passed on, unless something outside its group keeps the pipe open."""
        assert self.output is not None
        await asyncio.wait([self.output], timeout=1.0)
        self.output.cancel()
        await asyncio.wait([self.output])


async def _lines(read_end: int) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    pipe = os.fdopen(read_end, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    rest = b""
    try:
        while chunk := await reader.read(_LONGEST_LINE):
            *complete, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                complete, rest = [*complete, rest], b""
            for line in complete:
                yield line.decode(errors="replace").rstrip("\r")
        if rest:
            yield rest.decode(errors="replace")
    finally:
        transport.close()


def _ending(status: int) -> str:
    return f"died by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
