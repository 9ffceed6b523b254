"""Work that goes on beside the messages: periodic rounds that one failure does not end."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Self

import structlog

from common import tracing
from common.telemetry import Event

log = structlog.get_logger(__name__)


class BackgroundTasks:
    """Tasks that live as long as the block they are started in, then are cancelled and awaited."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[object, object, None]) -> None:
        """`work` runs from now on; should it end with an error, that is logged."""
        task = asyncio.create_task(work)
        task.add_done_callback(_log_failure)
        self._tasks.add(task)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def every(interval_s: float, round_: Callable[[], Awaitable[object]]) -> None:
    """For ever: a round under its own trace id, then a pause; a failed one is logged and the next comes.

    Cancelled, it ends, also where the round swallows that.
    """
    task = asyncio.current_task()
    while True:
        with tracing.bound(tracing.new()):
            try:
                await round_()
            except Exception as error:  # noqa: BLE001 - the outermost shell of periodic work
                log.warning(
                    Event.BACKGROUND_TASK_FAILED,
                    task=_name(round_),
                    reason=f"{type(error).__name__}: {error}",
                )
        # A wait that comes to its end in the moment of its cancellation forgets it (asyncio.wait_for does,
        # deep in the drivers): without this the process would not stop.
        if task and task.cancelling():
            return
        await asyncio.sleep(interval_s)


def _name(round_: Callable[[], Awaitable[object]]) -> str:
    return getattr(round_, "__qualname__", repr(round_))


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error(Event.BACKGROUND_TASK_FAILED, task=task.get_name(), reason=repr(error))
