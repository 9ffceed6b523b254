"""Executions: what became of our signals at the exchange, booked once, for reports only.

They come from the table `orders` in rounds, or from the queue of order events where nobody else consumes
it. Each is believed by the rules of docs/validation-rules.md or kept as invalid with the reason; what is
believed becomes an execution event, its order's new mark and the strategy's new book in one transaction, so
that it does not matter how often, by whom, from where or how late it is told.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common import tracing, trading_log
from common.database import naive_utc
from common.messages import OrderEvent
from common.trading_log import Execution
from trainer import fills
from trainer.core import fifo
from trainer.core.execution_rules import (
    Booked,
    Executed,
    Invalid,
    OrderState,
    SentSignal,
    executed,
    news,
    order_state,
    price_of,
)
from trainer.core.performance import performance
from trainer.events import Event
from trainer.fills import Source

log = structlog.get_logger(__name__)

OVERLAP = timedelta(hours=1)
"""How far behind the newest booked order the rounds look: a row, or its signal's, may be committed late."""
SIGNAL_PAUSES_S = (0.2, 0.5, 1.0)
"""Waits for the row of an event's signal before the event counts as somebody else's."""
TELLING = frozenset({"filled", "partially_filled", "cancelled", "rejected"})
"""Types of event that tell of an execution; a cancelled order may have been filled silently before."""

TOLD = Counter("flotilla_executions", "Orders that were told, by what became of them.", ["source", "outcome"])
FOREIGN_ORDERS = Gauge(
    "flotilla_foreign_orders",
    "Executed orders within the last round's sight that no signal of ours asked for.",
)


class Outcome(StrEnum):
    """What became of an order that was told."""

    BOOKED = "booked"
    KNOWN = "known"
    """Nothing in it is new."""
    NOTHING = "nothing"
    """Nothing was executed, or on paper only (a dry run)."""
    FOREIGN = "foreign"
    """No signal of ours asked for it."""
    INVALID = "invalid"


class Executions:
    """Books what was executed: in rounds (`look`), or as it is announced (`on_event`)."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._in_order = asyncio.Lock()

    async def look(self) -> None:
        """Everything that `orders` shows executed is booked, or kept as invalid."""
        async with self._engine.connect() as connection:
            newest = await fills.newest_booked(connection)
        since = naive_utc(newest - OVERLAP) if newest else None
        after: tuple[datetime, str] | None = None
        while True:
            async with self._engine.begin() as connection:
                page = await fills.unbooked(connection, since=since, after=after)
            for row in page:
                outcome = await self._take(row, source="orders", body=row)
                TOLD.labels("orders", outcome).inc()
            if len(page) < fills.PAGE:
                break
            after = (page[-1]["created_at"], page[-1]["order_id"])
        async with self._engine.begin() as connection:
            FOREIGN_ORDERS.set(await fills.foreign(connection, since=since))

    async def on_event(self, event: OrderEvent) -> None:
        """What the event shows executed is booked, or kept as invalid."""
        if event.event_type not in TELLING:
            return
        told = _order_of(event)
        for pause_s in (*SIGNAL_PAUSES_S, None):
            # One after the other: a position is opened in the books before it is closed.
            async with self._in_order:
                outcome = await self._take(told, source="queue", body=event.order)
            if outcome is not Outcome.FOREIGN or pause_s is None:
                break
            await asyncio.sleep(pause_s)
        TOLD.labels("queue", outcome).inc()

    async def _take(self, told: Mapping[str, Any], *, source: Source, body: Mapping[str, Any]) -> Outcome:
        state = order_state(told)
        if isinstance(state, Invalid):
            return await self._keep_invalid(source, body, state)
        if not state.has_executed:
            return Outcome.NOTHING
        async with self._engine.begin() as connection:
            signal = await fills.sent_signal(connection, state.signal_id)
            if signal is None:
                return Outcome.FOREIGN
            result = await _book(connection, state, signal)
        with tracing.bound(
            tracing.accepted(signal.trace_id), strategy_id=signal.strategy_id, symbol=signal.symbol
        ):
            if isinstance(result, Invalid):
                return await self._keep_invalid(source, body, result)
            if result is None:
                return Outcome.KNOWN
            log.info(
                Event.EXECUTION_BOOKED,
                order_id=state.order_id,
                side=result.side,
                quantity=str(result.quantity),
                price=str(result.price),
                realized_pnl=result.performance["realized_pnl"],
            )
            return Outcome.BOOKED

    async def _keep_invalid(self, source: Source, body: Mapping[str, Any], invalid: Invalid) -> Outcome:
        async with self._engine.begin() as connection:
            is_new = await fills.keep_invalid(connection, source, body, invalid.reason)
        if not is_new:
            return Outcome.KNOWN
        log.warning(
            Event.EXECUTION_INVALID,
            source=source,
            order_id=str(body.get("order_id")),
            reason=invalid.reason,
        )
        return Outcome.INVALID


async def _book(
    connection: AsyncConnection, state: OrderState, signal: SentSignal
) -> Execution | Invalid | None:
    """What of the order was not booked yet is; None: nothing was left."""
    done = executed(state, signal, now=datetime.now(UTC))
    if isinstance(done, Invalid):
        return done
    lots = await fills.locked_book(connection, signal)
    before = await fills.booked_of(connection, done.order_id)
    if before is None and await fills.is_recorded_by_others(connection, signal.signal_id):
        return None
    before = before or Booked()
    fill = news(done, before)
    if fill is None or isinstance(fill, Invalid):
        return fill
    booking = fifo.booked(lots, fill, may_open=not signal.reduces_only)
    execution = _execution(done, signal, fill, booking)
    is_new = await trading_log.append_execution(connection, execution)
    await fills.mark_booked(
        connection,
        signal,
        done,
        fees=before.fees + fill.fees,
        lots=booking.lots if is_new else lots,  # its mark was lost, its effect on the book was not
    )
    return execution if is_new else None


def _execution(done: Executed, signal: SentSignal, fill: fifo.Fill, booking: fifo.Booking) -> Execution:
    return Execution(
        id=done.execution_id,
        signal_id=signal.signal_id,
        strategy_id=signal.strategy_id,
        symbol=signal.symbol,
        side=signal.side,
        price=price_of(fill.value, fill.quantity),
        quantity=abs(fill.quantity),
        fees=fill.fees,
        executed_at=done.executed_at,
        signal_price=signal.price,
        signal_timestamp=signal.timestamp,
        performance=performance(done.order_id, fill, booking, signal_price=signal.price),
    )


def _order_of(event: OrderEvent) -> dict[str, Any]:
    """The order of the event, with what only the event around it knows."""
    told = dict(event.order)
    if told.get("average_price") is None:
        told["average_price"] = (event.market_conditions or {}).get("price")
    if told.get("updated_at") is None:
        told["updated_at"] = event.timestamp
    return told
