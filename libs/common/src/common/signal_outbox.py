"""Ledgered publish: a signal that was decided ends published and recorded, or expired with its reason.

1. `claim` writes the intent in the caller's transaction: the id's primary key lets one claim win.
2. `publish` sends it, confirmed, mandatory, persistent, expiring with its validity.
3. After the confirm one transaction marks it published and appends it to trading_signals.
4. Only then does the caller acknowledge its input.

A crash between any two steps leaves a pending intent. Whoever gets the input again takes it over at once
(`resume`), everybody else once its lease has run out (`relay`); both send the stored payload under the same
id, and never after its validity.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal
from uuid import UUID

import msgspec
import structlog
from faststream.rabbit import RabbitBroker
from sqlalchemy import Row, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common import bus, topology, tracing
from common.core.trading_state import TradingState, trading_state
from common.errors import OutcomeUnknown, TryAgain
from common.messages import TradingSignal, encode_signal
from common.tables import orders, signal_outbox
from common.telemetry import Event
from common.trading_log import append_signal
from common.trading_states import stored_states

log = structlog.get_logger(__name__)

LEASE_S = 10.0
"""How long an intent belongs to the process that claimed it, by the database's clock."""
PUBLISH_RETRY_S = 0.25
"""Pause between attempts to publish while the signal is valid."""
LEAST_LEFT_S = 0.25
"""What is not sent at once is sent only with so much of its validity left: a publish takes its time."""
RELAY_BATCH = 20
"""Intents that one relay round takes."""

Kind = Literal["entry", "exit"]
_decoder = msgspec.json.Decoder(TradingSignal)
_HAS_ORDER = exists().where(orders.c.signal_id == signal_outbox.c.signal_id)


class Fate(StrEnum):
    """How an intent ended, or that it has not."""

    PUBLISHED = "published"
    EXPIRED = "expired"
    PENDING = "pending"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """An intent that this process owns: the exact body to publish, and until when."""

    signal_id: UUID
    body: bytes
    trace_id: str
    valid_until: datetime
    entry_of: str | None
    """The strategy whose trading state must let it through; None: an exit."""
    is_new: bool
    """Claimed a moment ago under the state that was read then; an old one is published only if ACTIVE."""
    may_be_sent: bool = False
    """Somebody else may have sent it so lately that the Order Manager cannot show an order yet."""


class SignalOutbox:
    """The outbox as one process sees it; `owner` tells processes apart.

    `state_initial` is the trading state of entries while none is stored.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        broker: RabbitBroker,
        *,
        owner: str,
        state_initial: TradingState = TradingState.ACTIVE,
    ) -> None:
        self._engine = engine
        self._broker = broker
        self._owner = owner
        self._state_initial = state_initial

    async def claim(
        self,
        connection: AsyncConnection,
        signal: TradingSignal,
        *,
        kind: Kind,
        feature_timestamp: datetime | None,
        valid_until: datetime,
    ) -> Claim | None:
        """The intent, once the caller's transaction commits; None where the id is claimed already.

        Raises Unusable where the Order Manager would refuse the signal.
        """
        body = encode_signal(signal)
        trace_id = signal.trace_id or tracing.current()
        inserted = await connection.execute(
            insert(signal_outbox)
            .values(
                signal_id=signal.signal_id,
                kind=kind,
                strategy_id=signal.strategy_id,
                symbol=signal.symbol,
                side=signal.signal_type,
                amount_quote=Decimal(repr(signal.amount)),
                payload=body.decode(),
                trace_id=trace_id,
                feature_timestamp=feature_timestamp,
                valid_until=valid_until,
                owner=self._owner,
                lease_until=func.now() + timedelta(seconds=LEASE_S),
                # Not when the transaction began: it may have waited for others to claim before it.
                created_at=func.clock_timestamp(),
            )
            .on_conflict_do_nothing(index_elements=["signal_id"])
            .returning(signal_outbox.c.signal_id)
        )
        if inserted.first() is None:
            return None
        return Claim(
            signal_id=signal.signal_id,
            body=body,
            trace_id=trace_id,
            valid_until=valid_until,
            entry_of=signal.strategy_id if kind == "entry" else None,
            is_new=True,
        )

    async def resume(self, signal_id: UUID) -> Claim | Fate | None:
        """For an input that came again: its unfinished intent, now ours; how it ended; None: never claimed.

        The lease is taken over at once: the broker gives an input out again only when it saw its holder gone.
        """
        async with self._engine.begin() as connection:
            taken = await connection.execute(
                update(signal_outbox)
                .where(signal_outbox.c.signal_id == signal_id, signal_outbox.c.state == Fate.PENDING)
                .values(self._ownership())
                .returning(signal_outbox, _HAS_ORDER)
            )
            row = taken.first()
            state = None
            if row is None:
                state = await connection.scalar(
                    select(signal_outbox.c.state).where(signal_outbox.c.signal_id == signal_id)
                )
        if row is not None:
            claim = msgspec.structs.replace(_claim_of(row), may_be_sent=True)
            return await self._settle(claim, Fate.PUBLISHED, None) if row[-1] else claim
        return None if state is None else Fate(state)

    async def publish(self, claim: Claim) -> Fate:
        """Published and recorded, or expired.

        PENDING where nobody knows whether the broker took the signal, or the database did not answer: the
        relay finishes it, once the Order Manager had time to show an order. Whatever is not sent at once
        needs LEAST_LEFT_S and, again, an ACTIVE trading state: nothing here tells what reduces a position.
        """
        reason, unknown, is_late = "its validity had ended", claim.may_be_sent, not claim.is_new
        while _seconds_until(claim.valid_until) > (LEAST_LEFT_S if is_late else 0):
            try:
                if is_late and (barred := await self._barred(claim)):
                    reason = barred
                    break
            except (DBAPIError, PoolTimeout, OSError) as error:
                log.warning(Event.SIGNAL_LEFT_TO_RELAY, signal_id=str(claim.signal_id), reason=str(error))
                return Fate.PENDING
            is_late = True
            if (remaining_s := _seconds_until(claim.valid_until)) <= 0:
                break  # the states took that long to read
            try:
                await bus.publish(
                    self._broker,
                    topology.TRADING_SIGNALS,
                    claim.body,
                    message_id=claim.signal_id,
                    trace_id=claim.trace_id,
                    expires_in_s=remaining_s,
                )
            except TryAgain as error:
                reason, unknown = str(error), unknown or isinstance(error, OutcomeUnknown)
                log.warning(Event.SIGNAL_NOT_PUBLISHED, signal_id=str(claim.signal_id), reason=reason)
                await asyncio.sleep(PUBLISH_RETRY_S)
            else:
                log.info(Event.SIGNAL_PUBLISHED, signal_id=str(claim.signal_id))
                return await self._settle(claim, Fate.PUBLISHED, None)
        if unknown:
            log.warning(Event.SIGNAL_LEFT_TO_RELAY, signal_id=str(claim.signal_id), reason=reason)
            return Fate.PENDING
        return await self._settle(claim, Fate.EXPIRED, reason)

    async def relay(self, kind: Kind) -> int:
        """Intents of `kind` whose owner went silent are finished; returns how many were taken.

        One past its validity is expired, unless the Order Manager already holds an order for it: then only
        the record was missing. Not for exits: what they were decided on may have changed.
        """
        return await self._finish_lapsed(kind, self.publish)

    async def expire_lapsed(self, kind: Kind) -> int:
        """Intents of `kind` whose owner went silent end without being sent; returns how many were taken.

        One that the Order Manager holds an order for is recorded as published. Whoever decides again finds
        the others expired.
        """
        return await self._finish_lapsed(
            kind,
            lambda claim: self._settle(claim, Fate.EXPIRED, "its worker went silent before it was confirmed"),
        )

    async def _finish_lapsed(self, kind: Kind, finish: Callable[[Claim], Awaitable[Fate]]) -> int:
        taken = await self._take_lapsed(kind)
        for claim, has_order in taken:
            with tracing.bound(claim.trace_id):
                if has_order:
                    await self._settle(claim, Fate.PUBLISHED, None)
                else:
                    await finish(claim)
        return len(taken)

    async def _take_lapsed(self, kind: Kind) -> list[tuple[Claim, bool]]:
        lapsed = (
            select(signal_outbox.c.signal_id)
            .where(
                signal_outbox.c.state == Fate.PENDING,
                signal_outbox.c.kind == kind,
                signal_outbox.c.lease_until < func.now(),
            )
            .order_by(signal_outbox.c.created_at)
            .limit(RELAY_BATCH)
            .with_for_update(skip_locked=True)
        )
        async with self._engine.begin() as connection:
            rows = await connection.execute(
                update(signal_outbox)
                .where(signal_outbox.c.signal_id.in_(lapsed.scalar_subquery()))
                .values(self._ownership())
                .returning(signal_outbox, _HAS_ORDER)
            )
            return [(_claim_of(row), bool(row[-1])) for row in rows]

    def _ownership(self) -> dict[str, object]:
        return {
            "owner": self._owner,
            "lease_until": func.now() + timedelta(seconds=LEASE_S),
            "attempts": signal_outbox.c.attempts + 1,
        }

    async def _barred(self, claim: Claim) -> str | None:
        if claim.entry_of is None:
            return None
        async with self._engine.connect() as connection:
            stored = await stored_states(connection)
        state = trading_state(stored, claim.entry_of, self._state_initial)
        return None if state is TradingState.ACTIVE else f"trading state {state} before it was published"

    async def _settle(self, claim: Claim, fate: Fate, reason: str | None) -> Fate:
        try:
            async with self._engine.begin() as connection:
                await self._record(connection, claim, fate, reason)
        except (DBAPIError, PoolTimeout, OSError) as error:
            log.warning(Event.SIGNAL_LEFT_TO_RELAY, signal_id=str(claim.signal_id), reason=str(error))
            return Fate.PENDING
        if fate is Fate.EXPIRED:
            log.warning(Event.SIGNAL_EXPIRED, signal_id=str(claim.signal_id), reason=reason)
        return fate

    async def _record(
        self, connection: AsyncConnection, claim: Claim, fate: Fate, reason: str | None
    ) -> None:
        # A confirm outweighs what anybody else concluded; an expiry only ends what is still open.
        open_states = [Fate.PENDING, Fate.EXPIRED] if fate is Fate.PUBLISHED else [Fate.PENDING]
        await connection.execute(
            update(signal_outbox)
            .where(signal_outbox.c.signal_id == claim.signal_id, signal_outbox.c.state.in_(open_states))
            .values(state=fate, reason=reason, published_at=func.now() if fate is Fate.PUBLISHED else None)
        )
        if fate is Fate.PUBLISHED:
            await append_signal(connection, _decoder.decode(claim.body))


def _claim_of(row: Row[tuple[object, ...]]) -> Claim:
    return Claim(
        signal_id=row.signal_id,
        body=row.payload.encode(),
        trace_id=row.trace_id,
        valid_until=row.valid_until,
        entry_of=row.strategy_id if row.kind == "entry" else None,
        is_new=False,
    )


def _seconds_until(instant: datetime) -> float:
    return (instant - datetime.now(UTC)).total_seconds()
