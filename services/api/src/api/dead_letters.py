"""Dead letters, taken over from the broker: each is in the database before the broker forgets it.

Any number of API processes compete for the broker's queue. A letter is only asked for once the database
answers, and whatever goes wrong meanwhile gives it back; nothing here can send it on to itself.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from aio_pika.abc import AbstractIncomingMessage
from faststream.rabbit import RabbitBroker
from prometheus_client import Counter, Gauge
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api import audit
from api.core.dead_letters import Kind, letter, objection, restored
from api.core.versions import Objection
from api.events import Event
from api.problems import Refused
from api.queries import dead_letters
from api.queries.dead_letters import DeadLetter, KeptLetter
from common import bus, topology
from common.errors import NotFound, Unroutable

log = structlog.get_logger(__name__)

COLLECT_INTERVAL_S = 1.0
"""How often the broker is asked for letters, in seconds."""
COUNT_INTERVAL_S = 15.0
"""How often the open letters are counted, in seconds."""
REPLAYABLE = {
    queue.name: queue
    for queue in (
        topology.FEATURES_LIVE,
        topology.TRADING_SIGNALS,
        topology.DATASET_READY,
        topology.ORDER_EVENTS,
        topology.POSITION_UPDATED,
    )
}
"""Queues that a letter may go back to."""
_KINDS: dict[str, Kind] = {topology.FEATURES_LIVE.name: "vector", topology.TRADING_SIGNALS.name: "signal"}

COLLECTED = Counter("flotilla_dead_letters_collected", "Dead letters taken over, by queue.", ["queue"])
OPEN = Gauge("flotilla_dead_letters_open", "Dead letters that nobody has settled, over the whole fleet.")


class Collector:
    """Takes the broker's dead letters over."""

    def __init__(self, broker: RabbitBroker, engine: AsyncEngine) -> None:
        self._broker = broker
        self._engine = engine

    async def collect(self) -> None:
        """The broker has no letter that could be taken; raises where one could not be stored."""
        queue = await self._broker.declare_queue(topology.DEAD_LETTERS)
        async with self._engine.connect() as connection:
            while message := await queue.get(fail=False):
                try:
                    await _keep(connection, message)
                    await connection.commit()
                except BaseException:
                    if not message.channel.is_closed:  # a closed channel has already given it back
                        await message.nack(requeue=True)
                    raise
                # Should this be lost, the letter comes again and is known.
                await message.ack()

    async def count(self) -> None:
        """The gauge shows how many letters nobody has settled."""
        async with self._engine.connect() as connection:
            OPEN.set(await dead_letters.open_letters(connection))


async def objection_to(connection: AsyncConnection, kept: KeptLetter, max_age: timedelta) -> Objection | None:
    """What stands against replaying the letter now; None: nothing does."""
    return objection(
        _kind(kept.queue),
        kept.body,
        valid_until=await _valid_until(connection, kept),
        max_age=max_age,
        now=datetime.now(UTC),
    )


async def replay(
    engine: AsyncEngine,
    broker: RabbitBroker,
    letter_id: UUID,
    *,
    actor: str,
    reason: str,
    max_age: timedelta,
) -> DeadLetter:
    """The letter's queue holds its message once more, confirmed, and the letter is settled.

    The message may arrive twice: where the broker took it and the database did not hear of it, the letter
    stays open. Raises NotFound, Refused, and TryAgain where the broker did not confirm.
    """
    async with engine.begin() as connection:
        kept = await _open(connection, letter_id)
        if against := await objection_to(connection, kept, max_age):
            raise Refused(against)
        until = await _valid_until(connection, kept)
        try:
            await bus.put_back(
                broker,
                REPLAYABLE[kept.queue],
                kept.body,
                {name: restored(value) for name, value in kept.headers.items()},
                content_type=kept.content_type,
                message_id=kept.message_id,
                expires_in_s=(until - datetime.now(UTC)).total_seconds() if until else None,
            )
        except Unroutable as error:
            raise Refused(Objection("queue_gone", str(error))) from error
        settled = await dead_letters.settle(connection, letter_id, "replayed", actor=actor, reason=reason)
        await _record(connection, "replay_dead_letter", settled, actor=actor, reason=reason)
    log.warning(Event.LETTER_REPLAYED, **_logged(settled))
    return settled


async def discard(engine: AsyncEngine, letter_id: UUID, *, actor: str, reason: str) -> DeadLetter:
    """The letter is settled and its message never used. Raises NotFound, and Refused where it is settled."""
    async with engine.begin() as connection:
        await _open(connection, letter_id)
        settled = await dead_letters.settle(connection, letter_id, "discarded", actor=actor, reason=reason)
        await _record(connection, "discard_dead_letter", settled, actor=actor, reason=reason)
    log.warning(Event.LETTER_DISCARDED, **_logged(settled))
    return settled


async def _keep(connection: AsyncConnection, message: AbstractIncomingMessage) -> None:
    found = letter(
        message.body,
        message.headers,
        content_type=message.content_type,
        message_id=message.message_id,
        now=datetime.now(UTC),
    )
    if await dead_letters.keep(connection, found):
        COLLECTED.labels(found.queue if found.queue in REPLAYABLE else "other").inc()
        log.info(
            Event.LETTER_COLLECTED, letter_id=str(found.letter_id), queue=found.queue, reason=found.reason
        )


async def _open(connection: AsyncConnection, letter_id: UUID) -> KeptLetter:
    kept = await dead_letters.find(connection, letter_id, lock=True)
    if kept is None:
        raise NotFound("no such dead letter")
    if kept.state != "open":
        raise Refused(Objection("already_settled", f"the letter was {kept.state} by {kept.settled_by}"))
    return kept


async def _valid_until(connection: AsyncConnection, kept: KeptLetter) -> datetime | None:
    if _kind(kept.queue) != "signal":
        return None
    try:
        signal_id = UUID(kept.message_id or "")
    except ValueError:
        return None
    return await dead_letters.valid_until(connection, signal_id)


async def _record(
    connection: AsyncConnection, action: str, settled: DeadLetter, *, actor: str, reason: str
) -> None:
    await audit.record(
        connection,
        action,
        f"letter:{settled.letter_id}",
        actor=actor,
        reason=reason,
        details={"queue": settled.queue, "why_dead": settled.reason},
    )


def _kind(queue: str) -> Kind:
    if not queue or queue.startswith("flotilla."):
        return "hint"
    if queue not in REPLAYABLE:
        return "foreign"
    return _KINDS.get(queue, "lasting")


def _logged(settled: DeadLetter) -> dict[str, str | None]:
    return {
        "letter_id": str(settled.letter_id),
        "queue": settled.queue,
        "actor": settled.settled_by,
        "reason": settled.settled_reason,
    }
