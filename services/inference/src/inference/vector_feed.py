"""The vectors of features.live: all are taken at once, of those that wait each symbol's newest is decided on.

Where a worker cannot follow, a symbol's vector that waits is left out for a newer one (conflation): decisions
get fewer, and never old. Two kinds are not compared with others, each has its own turn: a redelivered vector,
because a signal of it may have been begun and is to be taken up again, and one from the future, which would
pass for the newest and is none.

The one queue of the fleet that FastStream does not consume: see common.direct_consumer.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog
from faststream.rabbit import RabbitBroker, RabbitQueue

from common import topology, tracing
from common.direct_consumer import Arrival, DirectConsumer
from common.messages import FeatureVector
from common.settlement import DeadLetter
from common.telemetry import Event
from inference.core.stream import FUTURE_TOLERANCE_S
from inference.live_vectors import LiveVectors

log = structlog.get_logger(__name__)

DECISIONS = 50
"""Vectors decided on at a time: while a signal waits for its database and its confirm, others go on."""
BEGUN_AT_ONCE = 4
"""Decisions begun before it is looked what came meanwhile: one that ends in HOLD waits for nothing, and fifty
in a row would hold up for 20 ms what makes them needless."""
STOP_GRACE_S = 10.0
"""Longest that a stop waits for decisions on what came before it."""

_FUTURE_TOLERANCE = timedelta(seconds=FUTURE_TOLERANCE_S)


class Decider(Protocol):
    """Who decides on vectors: a worker."""

    async def on_vector(self, vector: FeatureVector, *, redelivered: bool) -> None:
        """Every strategy has decided on `vector`."""

    def leave_out(self, vector: FeatureVector) -> None:
        """A newer vector came before the turn of this one: nobody decides on it."""


class VectorFeed:
    """Takes vectors from `start` to `stop`; each is decided on or left out, then acknowledged."""

    def __init__(
        self,
        broker: RabbitBroker,
        decider: Decider,
        live: LiveVectors,
        dead_letter: DeadLetter,
        *,
        prefetch: int,
    ) -> None:
        self._consumer = DirectConsumer(
            broker,
            topology.FEATURES_LIVE,
            FeatureVector,
            self._receive,
            dead_letter=dead_letter,
            prefetch=prefetch,
        )
        self._decider = decider
        self._live = live
        self._newest: dict[str, Arrival[FeatureVector]] = {}
        # Whose turn it is: a symbol's, whatever is its newest vector by then, or that of one vector.
        self._turns: asyncio.Queue[str | Arrival[FeatureVector]] = asyncio.Queue()
        self._deciding: list[asyncio.Task[None]] = []
        self._begin = asyncio.Semaphore(BEGUN_AT_ONCE)

    @property
    def queue(self) -> RabbitQueue:
        """features.live."""
        return self._consumer.queue

    async def start(self) -> None:
        """Vectors come and are decided on; raises what the drivers raise, and may then be called again."""
        await self._consumer.start()
        if not self._deciding:
            self._deciding = [asyncio.create_task(self._decide()) for _ in range(DECISIONS)]

    async def stop(self) -> None:
        """No vector comes, and none is decided on any more.

        Of those that came all are settled, or STOP_GRACE_S have passed: the broker gives the rest out again.
        """
        await self._consumer.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_GRACE_S):
                await self._turns.join()
        await self._consumer.answered()
        for task in self._deciding:
            task.cancel()
        await asyncio.gather(*self._deciding, return_exceptions=True)

    async def is_consuming(self) -> bool:
        """Whether the broker still gives vectors to this process."""
        return await self._consumer.is_consuming()

    async def _receive(self, arrival: Arrival[FeatureVector]) -> None:
        vector = arrival.body
        self._live.note(vector)
        if arrival.redelivered or vector.timestamp > datetime.now(UTC) + _FUTURE_TOLERANCE:
            self._turns.put_nowait(arrival)
            return
        waiting = self._newest.get(vector.symbol)
        if waiting is None:
            self._newest[vector.symbol] = arrival
            self._turns.put_nowait(vector.symbol)
            return
        older, newer = sorted((waiting, arrival), key=lambda each: each.body.timestamp)
        self._newest[vector.symbol] = newer
        self._decider.leave_out(older.body)
        await self._consumer.settlement.acknowledge(older.message)

    async def _decide(self) -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        # Also where the drivers swallowed the cancellation of a wait that was just over.
        while task and not task.cancelling():
            turn = await self._turns.get()
            await self._begin.acquire()
            loop.call_soon(self._begin.release)  # after whatever is ready now, the socket included
            arrival = self._newest.pop(turn) if isinstance(turn, str) else turn
            try:
                if not arrival.is_lost:
                    await self._settle(arrival)
            except Exception as error:  # the outermost shell: the next vector is another matter
                log.exception(Event.BACKGROUND_TASK_FAILED, task="deciding", reason=repr(error))
            finally:
                self._turns.task_done()

    async def _settle(self, arrival: Arrival[FeatureVector]) -> None:
        vector, message = arrival.body, arrival.message
        trace_id = tracing.accepted(vector.trace_id or message.headers.get(tracing.HEADER))
        with tracing.bound(trace_id):
            await self._consumer.settlement.settle(
                message, lambda: self._decider.on_vector(vector, redelivered=arrival.redelivered)
            )
