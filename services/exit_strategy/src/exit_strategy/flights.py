"""What is on its way for a symbol: its newest exit with the Order Manager's answer, its newest entry."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import msgspec
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from common.tables import orders, signal_outbox
from exit_strategy.core.dispatch import Answer, Flight, Traffic

_ANSWERS = {
    "filled": Answer.FILLED,
    "dry_run": Answer.FILLED,  # nothing will ever come of it, and nothing is gained by asking again
    "pending": Answer.RESTING,
    "partially_filled": Answer.RESTING,
    "rejected": Answer.REFUSED,
    "cancelled": Answer.REFUSED,
}
_WEIGHT = {Answer.NONE: 0, Answer.REFUSED: 1, Answer.RESTING: 2, Answer.FILLED: 3}


# An exit that inference claimed may say less: then only a newer view of another size shows its fill.
class _Reasons(msgspec.Struct, frozen=True):
    rule: str = msgspec.field(name="exit_reason", default="")
    stage: int = 0
    live_size: Decimal = Decimal(0)
    size_to_close: Decimal = Decimal(0)


class _Body(msgspec.Struct, frozen=True):
    metadata: _Reasons = _Reasons()


_decoder = msgspec.json.Decoder(_Body)


async def traffic(connection: AsyncConnection, symbol: str) -> Traffic:
    """The symbol's signals that an exit has to wait for."""
    rows = await connection.execute(
        select(
            signal_outbox.c.kind,
            signal_outbox.c.signal_id,
            signal_outbox.c.payload,
            signal_outbox.c.created_at,
            func.coalesce(signal_outbox.c.published_at, signal_outbox.c.created_at).label("sent_at"),
        )
        .where(signal_outbox.c.symbol == symbol, signal_outbox.c.state != "expired")
        .ext(distinct_on(signal_outbox.c.kind))
        .order_by(signal_outbox.c.kind, signal_outbox.c.created_at.desc())
    )
    newest = {row.kind: row for row in rows}
    exit_row = newest.get("exit")
    return Traffic(
        newest_exit=None
        if exit_row is None
        else await _flight(connection, exit_row.signal_id, exit_row.payload, exit_row.created_at),
        newest_entry_at=newest["entry"].sent_at if "entry" in newest else None,
    )


async def _flight(connection: AsyncConnection, signal_id: UUID, payload: str, issued_at: datetime) -> Flight:
    reasons = _decoder.decode(payload).metadata
    rows = await connection.execute(
        select(
            orders.c.status,
            orders.c.filled_quantity,
            func.coalesce(orders.c.executed_at, orders.c.updated_at),
        ).where(orders.c.signal_id == signal_id)
    )
    flight = Flight(
        signal_id=signal_id,
        rule=reasons.rule,
        stage=reasons.stage,
        live_size=reasons.live_size,
        size_to_close=reasons.size_to_close,
        issued_at=issued_at,
    )
    answers = [(_ANSWERS.get(status, Answer.RESTING), filled, at) for status, filled, at in rows]
    if not answers:
        return flight
    # A rejected signal may be tried again under its id: of several orders the one furthest on counts.
    answer, filled, at = max(answers, key=lambda each: _WEIGHT[each[0]])
    return msgspec.structs.replace(
        flight, answer=answer, filled_size=filled, answered_at=at.replace(tzinfo=UTC)
    )
