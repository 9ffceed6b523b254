"""The signals that were published."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Double, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.queries.conditions import equal
from common.messages import Side
from common.tables import trading_signals


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that was published."""

    signal_id: UUID
    strategy_id: str
    symbol: str
    side: Side
    price: Decimal
    """Quote currency."""
    amount_quote: Decimal | None
    """Quote currency; null on signals of the platform's older service."""
    confidence: float | None
    timestamp: datetime
    model_version: str | None
    is_warmup: bool
    market_data_snapshot: dict[str, Any] | None
    """The market that the decision saw."""
    metadata: dict[str, Any] | None
    """Every gate's figures, or the exit rule's."""
    trace_id: str | None


async def newest_signals(
    connection: AsyncConnection, *, strategy_id: str | None, symbol: str | None, limit: int
) -> list[Signal]:
    """The newest signals of the strategy and symbol, or of all."""
    signals = trading_signals.c
    rows = await connection.execute(
        select(
            signals.signal_id,
            signals.strategy_id,
            signals.asset.label("symbol"),
            signals.side,
            func.trim_scale(signals.price).label("price"),
            func.trim_scale(signals.amount_quote).label("amount_quote"),
            cast(signals.confidence, Double).label("confidence"),
            func.timezone("UTC", signals.timestamp).label("timestamp"),
            signals.model_version,
            signals.is_warmup,
            signals.market_data_snapshot,
            signals.metadata,
            signals.trace_id,
        )
        .where(*equal((signals.strategy_id, strategy_id), (signals.asset, symbol)))
        .order_by(signals.timestamp.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, Signal) for row in rows.mappings()]
