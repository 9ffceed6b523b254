"""What became of the vectors: the newest outcome, why there was no signal, and the price that was seen."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from api.core.skips import SkipCount
from api.queries.conditions import equal
from common.tables import latest_outcomes as outcome_rows
from common.tables import minute_bars, skip_counts


class LatestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the newest vector of a strategy and symbol."""

    strategy_id: str
    symbol: str
    feature_timestamp: datetime
    """Of the vector."""
    decided_at: datetime
    outcome: Literal["signal", "skip"]
    """What became of it."""
    reason: str | None
    """Null: a signal."""
    facts: dict[str, Any] | None
    """The figures of the gate that said no, or of the signal."""
    signal_id: UUID | None
    """Null: a skip."""
    version: str | None
    """Null: warm-up, or no model had a part in it."""
    replica: str
    """Who decided."""


class MinuteBar(msgspec.Struct, frozen=True, kw_only=True):
    """The price that the fleet saw in a minute, quote currency."""

    minute: datetime
    """Its begin."""
    open: Decimal
    """The first price."""
    high: Decimal
    """The highest."""
    low: Decimal
    """The lowest."""
    close: Decimal
    """The last price."""
    vectors: int
    """How many vectors showed it."""


async def skips(
    connection: AsyncConnection, since: datetime, *, symbol: str | None, strategy_id: str | None
) -> list[SkipCount]:
    """Skips per strategy, symbol and reason, of the minutes from `since` on."""
    counted = skip_counts.c
    rows = await connection.execute(
        select(
            counted.strategy_id,
            counted.symbol,
            counted.reason,
            cast(func.sum(counted.skips), BigInteger).label("skips"),
            func.min(counted.minute).label("since"),
        )
        .where(counted.minute >= since, *equal((counted.symbol, symbol), (counted.strategy_id, strategy_id)))
        .group_by(counted.strategy_id, counted.symbol, counted.reason)
    )
    return [msgspec.convert(row, SkipCount) for row in rows.mappings()]


async def latest_outcomes(
    connection: AsyncConnection, *, strategy_id: str | None, symbol: str | None
) -> list[LatestOutcome]:
    """The latest outcome of each strategy and symbol."""
    outcomes = outcome_rows.c
    rows = await connection.execute(
        select(outcome_rows)
        .where(*equal((outcomes.strategy_id, strategy_id), (outcomes.symbol, symbol)))
        .order_by(outcomes.strategy_id, outcomes.symbol)
    )
    return [msgspec.convert(row, LatestOutcome) for row in rows.mappings()]


async def newest_of_strategies(connection: AsyncConnection) -> dict[str, LatestOutcome]:
    """The newest outcome of each strategy that decided something, over all of its symbols."""
    outcomes = outcome_rows.c
    rows = await connection.execute(
        select(outcome_rows)
        .ext(distinct_on(outcomes.strategy_id))
        .order_by(outcomes.strategy_id, outcomes.decided_at.desc())
    )
    return {row["strategy_id"]: msgspec.convert(row, LatestOutcome) for row in rows.mappings()}


async def bars(
    connection: AsyncConnection, symbol: str, since: datetime, until: datetime, limit: int
) -> list[MinuteBar]:
    """The newest `limit` bars of the symbol in [since, until], the oldest of them first."""
    kept = minute_bars.c
    exact = ("open", "high", "low", "close")
    rows = await connection.execute(
        select(kept.minute, *(func.trim_scale(kept[name]).label(name) for name in exact), kept.vectors)
        .where(kept.symbol == symbol, kept.minute.between(since, until))
        .order_by(kept.minute.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, MinuteBar) for row in rows.mappings()][::-1]
