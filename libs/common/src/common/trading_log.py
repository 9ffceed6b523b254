"""What the fleet did: the signals it sent and what was executed, as Grafana and the neighbours read them."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import ColumnElement, Double, Numeric, String, cast, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.database import naive_utc
from common.messages import Side, TradingSignal
from common.tables import execution_events, trading_signals

Granularity = Literal["hour", "day", "week"]
"""Calendar units in UTC; a week begins on Monday."""


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """A fill of an order of ours. For reports only: no model is ever trained on it."""

    id: UUID
    signal_id: UUID
    strategy_id: str
    symbol: str
    side: Side
    price: Decimal
    """Quote currency."""
    quantity: Decimal
    """Base currency."""
    fees: Decimal
    """Quote currency."""
    executed_at: datetime
    signal_price: Decimal
    signal_timestamp: datetime
    performance: dict[str, Any]
    """`realized_pnl` and the figures behind it; null where nothing was closed."""


class PeriodResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the orders of a strategy that closed something in one period came to."""

    timestamp: datetime
    """The period's begin."""
    total_orders: int
    successful_orders: int
    """Those that gained, after fees."""
    total_pnl: float
    """Quote currency, after fees."""


async def append_signal(connection: AsyncConnection, signal: TradingSignal) -> None:
    """The signal stands in trading_signals, once, however often it is appended."""
    snapshot = msgspec.to_builtins(signal.market_data_snapshot)
    await connection.execute(
        insert(trading_signals)
        .values(
            id=uuid4(),
            signal_id=signal.signal_id,
            strategy_id=signal.strategy_id,
            asset=signal.symbol,
            side=signal.signal_type,
            price=Decimal(repr(signal.market_data_snapshot.price)),
            confidence=Decimal(repr(signal.confidence)),
            timestamp=naive_utc(signal.timestamp),
            model_version=signal.model_version,
            is_warmup=signal.is_warmup,
            market_data_snapshot=snapshot,
            metadata=signal.metadata,
            trace_id=signal.trace_id,
            amount_quote=Decimal(repr(signal.amount)),
        )
        .on_conflict_do_nothing(index_elements=["signal_id"])
    )


def of_exit_rule() -> ColumnElement[bool]:
    """Whether a row of trading_signals is an exit by rule; an entry that reduces a position is none."""
    rule: ColumnElement[str | None] = trading_signals.c.metadata["rule_triggered"].astext
    return rule.is_not(None)


async def append_execution(connection: AsyncConnection, execution: Execution) -> bool:
    """The execution stands in execution_events, once; False where it stood there already."""
    inserted = await connection.execute(
        insert(execution_events)
        .values(
            id=execution.id,
            signal_id=execution.signal_id,
            strategy_id=execution.strategy_id,
            asset=execution.symbol,
            side=execution.side,
            execution_price=execution.price,
            execution_quantity=execution.quantity,
            execution_fees=execution.fees,
            executed_at=naive_utc(execution.executed_at),
            signal_price=execution.signal_price,
            signal_timestamp=naive_utc(execution.signal_timestamp),
            performance=execution.performance,
        )
        .on_conflict_do_nothing(index_elements=["id"])
    )
    return inserted.rowcount > 0


async def results_by_period(
    connection: AsyncConnection, strategy_id: str, granularity: Granularity, *, start: datetime, end: datetime
) -> list[PeriodResult]:
    """Every period from `start` to before `end` in which an order of the strategy closed something.

    An order that closed in several parts counts once a period; orders that only opened are no result.
    """
    events = execution_events.c
    pnl = cast(events.performance["realized_pnl"].as_string(), Numeric)
    # Rows of the platform's older service name no order.
    order = func.coalesce(events.performance["order_id"].as_string(), cast(events.id, String))
    by_order = (
        select(func.date_trunc(granularity, events.executed_at).label("period"), func.sum(pnl).label("pnl"))
        .where(
            events.strategy_id == strategy_id,
            events.executed_at >= naive_utc(start),
            events.executed_at < naive_utc(end),
            pnl.is_not(None),
        )
        .group_by("period", order)
        .subquery()
    )
    rows = await connection.execute(
        select(
            func.timezone("UTC", by_order.c.period).label("timestamp"),
            func.count().label("total_orders"),
            func.count().filter(by_order.c.pnl > 0).label("successful_orders"),
            cast(func.sum(by_order.c.pnl), Double).label("total_pnl"),
        )
        .group_by(by_order.c.period)
        .order_by(by_order.c.period)
    )
    return [msgspec.convert(row, PeriodResult) for row in rows.mappings()]
