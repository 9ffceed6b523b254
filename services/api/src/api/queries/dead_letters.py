"""Dead letters as they are kept: added once, listed, settled by an operator."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from api.core.dead_letters import Letter
from api.queries.conditions import equal
from common.tables import dead_letters, signal_outbox

LetterState = Literal["open", "replayed", "discarded"]

_columns = dead_letters.c


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be used, without what it said."""

    letter_id: UUID
    queue: str
    """Where it was read; empty: one of our own fan-outs."""
    service: str
    """Who could not use it."""
    reason: str
    """Why it could not be used."""
    size_bytes: int
    """Of its body."""
    content_type: str | None
    """The message's own; null: it had none."""
    message_id: str | None
    """The message's own; null: it had none."""
    trace_id: str
    failed_at: datetime
    """When the service gave it up."""
    collected_at: datetime
    """When it was taken over from the broker."""
    state: LetterState
    """`open` until an operator replays or discards it."""
    settled_at: datetime | None
    """Null: it is open."""
    settled_by: str | None
    """Who replayed or discarded it; null: it is open."""
    settled_reason: str | None


class KeptLetter(DeadLetter, frozen=True, kw_only=True):
    """A message that could not be used, whole."""

    body: bytes
    headers: dict[str, Any]


_SHOWN = [
    func.octet_length(_columns.body).label(name) if name == "size_bytes" else _columns[name]
    for name in DeadLetter.__struct_fields__
]


async def keep(connection: AsyncConnection, letter: Letter) -> bool:
    """The letter is kept; False where it was already."""
    kept = await connection.execute(
        insert(dead_letters).values(msgspec.structs.asdict(letter)).on_conflict_do_nothing()
    )
    return bool(kept.rowcount)


async def letters(
    connection: AsyncConnection, *, state: LetterState | None, queue: str | None, limit: int, offset: int
) -> tuple[list[DeadLetter], int]:
    """A page of the letters, the newest first, and how many there are in all."""
    wanted = equal((_columns.state, state), (_columns.queue, queue))
    rows = await connection.execute(
        select(*_SHOWN)
        .where(*wanted)
        .order_by(_columns.failed_at.desc(), _columns.letter_id)
        .limit(limit)
        .offset(offset)
    )
    found = [msgspec.convert(row, DeadLetter) for row in rows.mappings()]
    total = await connection.scalar(select(func.count()).select_from(dead_letters).where(*wanted))
    return found, total or 0


async def open_letters(connection: AsyncConnection) -> int:
    """How many letters nobody has settled."""
    return (
        await connection.scalar(
            select(func.count()).select_from(dead_letters).where(_columns.state == "open")
        )
        or 0
    )


async def find(connection: AsyncConnection, letter_id: UUID, *, lock: bool = False) -> KeptLetter | None:
    """The letter of that id; with `lock` nobody else settles it before the transaction ends."""
    question = select(*_SHOWN, _columns.body, _columns.headers).where(_columns.letter_id == letter_id)
    rows = await connection.execute(question.with_for_update() if lock else question)
    row = rows.mappings().first()
    return msgspec.convert(row, KeptLetter) if row else None


async def settle(
    connection: AsyncConnection, letter_id: UUID, state: LetterState, *, actor: str, reason: str
) -> DeadLetter:
    """The letter is settled so."""
    rows = await connection.execute(
        update(dead_letters)
        .where(_columns.letter_id == letter_id)
        .values(state=state, settled_at=func.now(), settled_by=actor, settled_reason=reason)
        .returning(*_SHOWN)
    )
    return msgspec.convert(rows.mappings().one(), DeadLetter)


async def valid_until(connection: AsyncConnection, signal_id: UUID) -> datetime | None:
    """Until when the ledger lets a signal be sent; None: it does not know it."""
    return await connection.scalar(
        select(signal_outbox.c.valid_until).where(signal_outbox.c.signal_id == signal_id)
    )
