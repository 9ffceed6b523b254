"""What the fleet did: the signals it sent, as Grafana and the neighbours read them."""

from decimal import Decimal
from uuid import uuid4

import msgspec
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.database import naive_utc
from common.messages import TradingSignal
from common.tables import trading_signals


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
