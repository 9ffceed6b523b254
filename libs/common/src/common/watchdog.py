"""The watchdog of a process: where its event loop does not turn any more, it ends, to be started again.

A process whose loop hangs takes messages and answers nobody. A thread counts the ticks in which the loop did
not report; a process that was frozen as a whole did not tick either, and goes on.
"""

import asyncio
import os
import sys
import threading
import traceback
from types import TracebackType
from typing import Self

import structlog

from common.telemetry import Event

TICK_S = 1.0
LIMIT_TICKS = 15
"""A loop that is silent for so many ticks is taken to hang."""
EXIT_HANGS = 70

log = structlog.get_logger(__name__)


class Watchdog:
    """Watches the running event loop inside the block."""

    def __init__(self, *, tick_s: float = TICK_S, limit_ticks: int = LIMIT_TICKS) -> None:
        self._tick_s = tick_s
        self._limit_ticks = limit_ticks
        self._silent_ticks = 0
        self._ended = threading.Event()
        self._watched = threading.get_ident()

    async def __aenter__(self) -> Self:
        self._beating = asyncio.create_task(self._beat())
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._beating.cancel()
        await asyncio.wait([self._beating])

    async def _beat(self) -> None:
        while True:
            self._silent_ticks = 0
            await asyncio.sleep(self._tick_s / 2)

    def _watch(self) -> None:
        while not self._ended.wait(self._tick_s):
            self._silent_ticks += 1
            if self._silent_ticks > self._limit_ticks:
                self._end()

    def _end(self) -> None:
        frame = sys._current_frames().get(self._watched)
        where = "".join(traceback.format_stack(frame)[-3:]) if frame else None
        log.critical(Event.LOOP_HANGS, silent_s=self._silent_ticks * self._tick_s, where=where)
        sys.stdout.flush()
        os._exit(EXIT_HANGS)
