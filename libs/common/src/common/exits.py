"""Positions being closed: a lifecycle's row under its lock, what is on its way, the one claim of an exit.

Whoever decides, the exit worker, its peers or inference, comes through `issue`: state and intent are one
commit, the outbox's key lets one claim win, and the latch in the locked row stops a second rule beside it.
Every function takes the caller's transaction.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Row, Select, and_, func, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common import tracing
from common.core.exits.dispatch import (
    Answer,
    Done,
    Flight,
    Instrument,
    Issue,
    Limits,
    Traffic,
    Wait,
    dispatch,
)
from common.core.exits.exit_signal import exit_signal
from common.core.exits.holds import Hold
from common.core.exits.position import Tracked
from common.core.exits.rules import Rules, Verdict
from common.core.trading_state import EXITS, TradingState
from common.messages import TradingSignal
from common.signal_outbox import Claim, SignalOutbox
from common.tables import instrument_info, orders, position_lifecycles, signal_outbox
from common.trading_states import stored_states

VALIDITY_MARGIN = timedelta(seconds=2)
"""An exit has expired in the broker for so long before the next generation exists."""

_FIXED = {"lifecycle_id", "symbol", "side", "opened_at", "strategy_id"}
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


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """An exit that was decided and stands in the outbox."""

    issue: Issue
    signal: TradingSignal
    claim: Claim | None
    """None: somebody else claimed the same exit first."""


async def locked(connection: AsyncConnection, symbol: str) -> Tracked | None:
    """The open lifecycle of `symbol`, nobody else's to change until the transaction ends."""
    rows = await connection.execute(
        select(position_lifecycles)
        .where(position_lifecycles.c.symbol == symbol, position_lifecycles.c.closed_at.is_(None))
        .with_for_update(key_share=True)
    )
    row = rows.mappings().first()
    return None if row is None else msgspec.convert(row, Tracked)


async def save(connection: AsyncConnection, tracked: Tracked) -> None:
    """The row shows `tracked`; the caller holds its lock."""
    values = {name: value for name, value in msgspec.structs.asdict(tracked).items() if name not in _FIXED}
    await connection.execute(
        update(position_lifecycles)
        .where(position_lifecycles.c.lifecycle_id == tracked.lifecycle_id)
        .values(**values)
    )


async def issue(
    connection: AsyncConnection,
    outbox: SignalOutbox,
    tracked: Tracked,
    *,
    rules: Rules,
    limits: Limits,
    verdicts: tuple[Verdict, ...],
    now: datetime,
) -> Issued | Wait | Done:
    """What the latched rule of `tracked` may send now is claimed and the row says so, or why it waits.

    The caller holds the row's lock, and publishes the claim after its commit. Done: the latch is open again.
    """
    if (await stored_states(connection)).get(EXITS) is TradingState.HALTED:
        return Wait(reason=Hold.EXITS_HALTED)
    outcome = dispatch(
        tracked,
        rules,
        await traffic(connection, tracked.symbol),
        instrument=await _instrument(connection, tracked.symbol),
        limits=limits,
        now=now,
    )
    if isinstance(outcome, Wait):
        return outcome
    if isinstance(outcome, Done):
        finished = msgspec.structs.replace(tracked, latched_rule=None, latched_at=None, exit_signal_id=None)
        await save(connection, finished)
        return outcome
    signal = exit_signal(tracked, outcome, verdicts, now, tracing.current())
    claim = await outbox.claim(
        connection,
        signal,
        kind="exit",
        feature_timestamp=tracked.last_evaluated_at,
        valid_until=now + limits.reissue - VALIDITY_MARGIN,
    )
    issued = msgspec.structs.replace(tracked, generation=outcome.generation, exit_signal_id=signal.signal_id)
    await save(connection, issued)
    return Issued(issue=outcome, signal=signal, claim=claim)


async def traffic(connection: AsyncConnection, symbol: str) -> Traffic:
    """The symbol's signals that an exit has to wait for."""
    rows = await connection.execute(union_all(_newest(symbol, "exit"), _newest(symbol, "entry")))
    newest = {row.kind: row for row in rows}
    return Traffic(
        newest_exit=await _flight(connection, newest["exit"]) if "exit" in newest else None,
        newest_entry_at=newest["entry"].sent_at if "entry" in newest else None,
    )


async def _instrument(connection: AsyncConnection, symbol: str) -> Instrument:
    rows = await connection.execute(
        select(
            instrument_info.c.lot_size, instrument_info.c.min_order_qty, instrument_info.c.min_order_value
        ).where(instrument_info.c.symbol == symbol)
    )
    row = rows.mappings().first()
    if row is None or row["lot_size"] <= 0:
        return Instrument()  # the finest steps
    return msgspec.convert(row, Instrument)


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
