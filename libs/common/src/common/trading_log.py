"""What the fleet did: the signals it sent and what was executed, as Grafana and the neighbours read them."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import ColumnElement, String, literal_column
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
    """When the exchange filled it."""
    signal_price: Decimal
    """Quote currency; what the signal was decided at."""
    signal_timestamp: datetime
    """When the signal was decided."""
    performance: dict[str, Any]
    """`realized_pnl` and the figures behind it; null where nothing was closed."""


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
    # Not as a parameter: the index of exits is found by the text of its condition.
    rule = trading_signals.c.metadata.op("->>", return_type=String())(literal_column("'rule_triggered'"))
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
