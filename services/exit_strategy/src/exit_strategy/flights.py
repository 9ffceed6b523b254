"""What is on its way for a symbol: its newest exit with the Order Manager's answer, its newest entry."""

from datetime import UTC
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Row, Select, and_, func, select, union_all
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
_NOTHING_FILLED = {"dry_run"}
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
    rows = await connection.execute(union_all(_newest(symbol, "exit"), _newest(symbol, "entry")))
    newest = {row.kind: row for row in rows}
    return Traffic(
        newest_exit=await _flight(connection, newest["exit"]) if "exit" in newest else None,
        newest_entry_at=newest["entry"].sent_at if "entry" in newest else None,
    )


# The outbox keeps everything: one step into an index per kind, however much there is.
def _newest(symbol: str, kind: str) -> Select[Any]:
    return (
        select(
            signal_outbox.c.kind,
            signal_outbox.c.signal_id,
            signal_outbox.c.payload,
            signal_outbox.c.created_at,
            func.coalesce(signal_outbox.c.published_at, signal_outbox.c.created_at).label("sent_at"),
            # Before its validity ends, the broker may hold what a silent worker sent.
            and_(signal_outbox.c.state == "expired", signal_outbox.c.valid_until < func.now()).label(
                "is_over"
            ),
        )
        .where(signal_outbox.c.symbol == symbol, signal_outbox.c.kind == kind)
        .order_by(signal_outbox.c.created_at.desc())
        .limit(1)
    )


async def _flight(connection: AsyncConnection, intent: Row[Any]) -> Flight:
    reasons = _decoder.decode(intent.payload).metadata
    rows = await connection.execute(
        select(
            orders.c.status,
            orders.c.filled_quantity,
            func.coalesce(orders.c.executed_at, orders.c.updated_at),
        ).where(orders.c.signal_id == intent.signal_id)
    )
    flight = Flight(
        signal_id=intent.signal_id,
        rule=reasons.rule,
        stage=reasons.stage,
        live_size=reasons.live_size,
        size_to_close=reasons.size_to_close,
        issued_at=intent.created_at,
        answer=Answer.EXPIRED if intent.is_over else Answer.NONE,
    )
    answers = [
        (_ANSWERS.get(status, Answer.RESTING), Decimal(0) if status in _NOTHING_FILLED else filled, at)
        for status, filled, at in rows
    ]
    if not answers:
        return flight
    # A rejected signal may be tried again under its id: of several orders the one furthest on counts.
    answer, filled, at = max(answers, key=lambda each: _WEIGHT[each[0]])
    return msgspec.structs.replace(
        flight, answer=answer, filled_size=filled, answered_at=at.replace(tzinfo=UTC)
    )
