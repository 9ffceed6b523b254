"""Positions being closed: a lifecycle's row under its lock, what is on its way, the one claim of an exit.

Whoever decides, the exit worker, its peers or inference, comes through `issue`: state and intent are one
commit, the outbox's key lets one claim win, and the latch in the locked row stops a second rule beside it.
Every function takes the caller's transaction.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, Select, and_, cast, func, literal_column, select, union_all, update
from sqlalchemy.dialects.postgresql import JSONB
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
from common.core.exits.position import UNATTRIBUTED, Side, Tracked, Verdict
from common.core.exits.rules import PACED, Rules
from common.core.trading_state import EXITS, TradingState
from common.messages import TradingSignal
from common.signal_outbox import Claim, SignalOutbox
from common.tables import instrument_info, orders, position_lifecycles, signal_outbox, trading_signals
from common.trading_states import stored_states

VALIDITY_MARGIN = timedelta(seconds=2)
"""An exit has expired in the broker for so long before the next generation exists."""

ADOPTED_AFTER = timedelta(minutes=1)
"""A position that was opened so long before it was first seen is adopted: its size is the platform's word."""

_FIXED = {"lifecycle_id", "symbol", "side", "opened_at", "strategy_id"}
_ASKED = {"close_requested_at", "close_actor", "close_reason"}
"""The operator's to write."""
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
    values = {
        name: value
        for name, value in msgspec.structs.asdict(tracked).items()
        if name not in _FIXED and name not in _ASKED
    }
    values["verdicts"] = msgspec.to_builtins(tracked.verdicts)
    await connection.execute(
        update(position_lifecycles)
        .where(position_lifecycles.c.lifecycle_id == tracked.lifecycle_id)
        .values(**values)
    )


async def confirmed(connection: AsyncConnection, lifecycle_id: UUID) -> None:
    """The broker has taken an exit of the lifecycle: its cooldown begins."""
    await connection.execute(
        update(position_lifecycles)
        .where(position_lifecycles.c.lifecycle_id == lifecycle_id)
        .values(last_exit_at=func.now())
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
        await _traffic_of(connection, tracked, limits),
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
    issued = msgspec.structs.replace(
        tracked,
        generation=outcome.generation,
        exit_signal_id=signal.signal_id,
        refusals=outcome.refusals,
    )
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


async def instruments(connection: AsyncConnection) -> dict[str, Instrument]:
    """The exchange's steps of every symbol that it lists."""
    rows = await connection.execute(
        select(
            instrument_info.c.symbol,
            instrument_info.c.lot_size,
            instrument_info.c.min_order_qty,
            instrument_info.c.min_order_value,
        ).where(instrument_info.c.lot_size > 0)
    )
    return {row["symbol"]: msgspec.convert(row, Instrument) for row in rows.mappings()}


async def _traffic_of(connection: AsyncConnection, tracked: Tracked, limits: Limits) -> Traffic:
    is_paced = tracked.latched_rule in PACED and limits.rate_limit is not None
    return msgspec.structs.replace(
        await traffic(connection, tracked.symbol),
        published_exits=await _paced_exits(connection, tracked.symbol, limits) if is_paced else (),
        booked_size=await _booked_size(connection, tracked),
    )


async def _paced_exits(connection: AsyncConnection, symbol: str, limits: Limits) -> tuple[datetime, ...]:
    rule = cast(signal_outbox.c.payload, JSONB)["metadata"]["exit_reason"].as_string()
    rows = await connection.scalars(
        select(signal_outbox.c.published_at)
        .where(
            signal_outbox.c.symbol == symbol,
            signal_outbox.c.kind == "exit",
            signal_outbox.c.published_at > func.now() - limits.rate_window,
            # Published within the reissue of being decided, else expired: for the index.
            signal_outbox.c.created_at > func.now() - limits.rate_window - limits.reissue,
            rule.in_(PACED),
        )
        .order_by(signal_outbox.c.published_at)
    )
    return tuple(rows)


# Ours alone are the fills since the symbol was last flat only where that moment is known and nobody else's
# order is among them; a flip's one fill belongs to two positions.
async def _booked_size(connection: AsyncConnection, tracked: Tracked) -> Decimal | None:
    if tracked.strategy_id == UNATTRIBUTED:
        return None
    lifecycles = position_lifecycles.c
    first_seen_at = await connection.scalar(
        select(lifecycles.created_at).where(lifecycles.lifecycle_id == tracked.lifecycle_id)
    )
    flat_at = await connection.scalar(
        select(func.max(lifecycles.newest_event_at)).where(
            lifecycles.symbol == tracked.symbol, lifecycles.closed_at.is_not(None)
        )
    )
    if first_seen_at is None or first_seen_at - tracked.opened_at > ADOPTED_AFTER:
        return None
    if flat_at is not None and tracked.opened_at <= flat_at:
        return None
    filled_at = func.timezone("UTC", func.coalesce(orders.c.executed_at, orders.c.updated_at))
    opens = func.lower(orders.c.side) == ("buy" if tracked.side is Side.LONG else "sell")
    bought = func.sum(orders.c.filled_quantity).filter(opens)
    sold = func.coalesce(func.sum(orders.c.filled_quantity).filter(~opens), 0)
    rows = await connection.execute(
        select(
            (bought - sold).label("left"),
            func.min(filled_at).label("first_at"),
            func.count().filter(trading_signals.c.signal_id.is_(None)).label("foreign"),
        )
        .select_from(orders.outerjoin(trading_signals, trading_signals.c.signal_id == orders.c.signal_id))
        .where(
            orders.c.asset == tracked.symbol,
            orders.c.status != "dry_run",
            orders.c.filled_quantity > 0,
            filled_at > func.coalesce(flat_at, literal_column("'-infinity'::timestamptz")),
        )
    )
    row = rows.one()
    if row.left is None or row.foreign or (flat_at is None and row.first_at < tracked.opened_at):
        return None
    return Decimal(row.left)


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
