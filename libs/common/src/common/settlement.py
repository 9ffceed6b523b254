"""How one message ends: acknowledged, tried again, handed back to its queue, or dead-lettered.

What was to be done with it returns: it is acknowledged. It raises: what happens is decided here, once, by the
class of the error (the table in docs/architecture.md): nothing is lost, and nothing blocks its queue.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import aio_pika
import msgspec
import structlog
from aio_pika.abc import AbstractIncomingMessage
from faststream.exceptions import IncorrectState

from common.database import is_outage
from common.errors import TryAgain, Unusable
from common.telemetry import Event

log = structlog.get_logger(__name__)

IN_PLACE_DELAYS_S = (0.1, 0.3, 1.0)
"""Waits between attempts at one message before it is handed back (TryAgain) or dead-lettered (a bug)."""
REQUEUE_DELAY_S = 1.0
"""Pause before a message is handed back, so that a queue of them does not spin."""
BROKER_AWAY = (aio_pika.exceptions.AMQPError, OSError, TimeoutError, RuntimeError, IncorrectState)
"""What the drivers raise where there is no connection, or none any more."""

Act = Callable[[], Awaitable[object]]
DeadLetter = Callable[[AbstractIncomingMessage, str], Awaitable[None]]


class Answers(Protocol):
    """How the broker is told what became of a message; raises one of BROKER_AWAY where it cannot be."""

    async def acknowledge(self, message: AbstractIncomingMessage) -> None:
        """The broker forgets the message, now or soon."""

    async def hand_back(self, message: AbstractIncomingMessage) -> None:
        """The broker gives the message out again."""


class AtOnce:
    """Each message is answered by itself, at once."""

    async def acknowledge(self, message: AbstractIncomingMessage) -> None:
        """The broker forgets the message."""
        await message.ack()

    async def hand_back(self, message: AbstractIncomingMessage) -> None:
        """The broker gives the message out again."""
        await message.nack(requeue=True)


class Settlement:
    """Ends messages; `dead_letter` keeps one that cannot be used, with the reason, or raises TryAgain."""

    def __init__(self, dead_letter: DeadLetter, answers: Answers | None = None) -> None:
        self._dead_letter = dead_letter
        self._answers = answers or AtOnce()

    async def settle(self, message: AbstractIncomingMessage, act: Act) -> None:
        """`act` was done, in place again where it failed, and the message ended as its last attempt did."""
        try:
            await _attempt(act)
        except TryAgain as error:
            await self._hand_back(message, error)
        except Exception as error:  # noqa: BLE001 - the outermost shell: whatever is left is dead-lettered
            await (self._hand_back(message, error) if is_outage(error) else self.bury(message, error))
        else:
            await self.acknowledge(message)

    async def bury(self, message: AbstractIncomingMessage, error: Exception) -> None:
        """The message is a dead letter, or handed back where even that cannot be."""
        try:
            await self._dead_letter(message, _reason(error))
        except TryAgain as unreachable:
            await self._hand_back(message, unreachable)
        else:
            await self.acknowledge(message)

    async def acknowledge(self, message: AbstractIncomingMessage) -> None:
        """The broker forgets the message; or gives it out again, where the connection is gone."""
        try:
            await self._answers.acknowledge(message)
        except BROKER_AWAY as error:
            # Its ids stop a second effect.
            log.warning(Event.MESSAGE_REQUEUED, reason=_reason(error), queue=message.routing_key)

    async def _hand_back(self, message: AbstractIncomingMessage, error: Exception) -> None:
        log.warning(Event.MESSAGE_REQUEUED, reason=_reason(error), queue=message.routing_key)
        await asyncio.sleep(REQUEUE_DELAY_S)
        with suppress(*BROKER_AWAY):  # a closed channel has already given it back
            await self._answers.hand_back(message)


async def _attempt(act: Act) -> None:
    for attempt, delay_s in enumerate(IN_PLACE_DELAYS_S, start=1):
        try:
            await act()
        except (Unusable, msgspec.ValidationError):
            raise
        except Exception as error:  # noqa: BLE001 - any failure deserves the same bounded patience
            log.warning(Event.MESSAGE_RETRIED, reason=_reason(error), attempt=attempt, delay_s=delay_s)
            await asyncio.sleep(delay_s)
        else:
            return
    await act()


def _reason(error: BaseException) -> str:
    cause = getattr(error, "original_error", error)
    return f"{type(cause).__name__}: {cause}"
