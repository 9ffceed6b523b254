"""What the API asks the database beyond the registry and the training queue: one function a question."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Double, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.core.skips import SkipCount
from api.core.training_status import TrainingRun
from common import training_runs
from common.messages import Side
from common.tables import latest_outcomes as outcome_rows
from common.tables import minute_bars, position_lifecycles, skip_counts, trading_signals
from common.tables import training_runs as run_rows


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


class Lifecycle(msgspec.Struct, frozen=True, kw_only=True):
    """A position from its opening to its close, as the exit rules see it."""

    lifecycle_id: UUID
    symbol: str
    side: Literal["long", "short"]
    strategy_id: str
    opened_at: datetime
    entry_price: Decimal
    """Quote currency."""
    size: Decimal
    """Base currency."""
    peak_price: Decimal
    """The best price since it was opened."""
    armed: bool
    """The trailing stop follows the price."""
    stage: int
    """Partial exits taken."""
    generation: int
    """Exit signals issued in its life, of every rule and stage."""
    latched_rule: str | None
    """The exit rule that fired."""
    latched_at: datetime | None
    exit_signal_id: UUID | None
    newest_event_at: datetime
    last_price: Decimal | None
    last_evaluated_at: datetime | None
    closed_at: datetime | None


class LatestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the newest vector of a strategy and symbol."""

    strategy_id: str
    symbol: str
    feature_timestamp: datetime
    decided_at: datetime
    outcome: Literal["signal", "skip"]
    reason: str | None
    """Null: a signal."""
    facts: dict[str, Any] | None
    """The figures of the gate that said no, or of the signal."""
    signal_id: UUID | None
    version: str | None
    """Null: warm-up, or no model had a part in it."""
    replica: str
    """Who decided."""


class MinuteBar(msgspec.Struct, frozen=True, kw_only=True):
    """The price that the fleet saw in a minute, quote currency."""

    minute: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vectors: int
    """How many vectors showed it."""


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
        .where(*_equal((signals.strategy_id, strategy_id), (signals.asset, symbol)))
        .order_by(signals.timestamp.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, Signal) for row in rows.mappings()]


async def lifecycles(
    connection: AsyncConnection, *, strategy_id: str | None, symbol: str | None, is_open: bool, limit: int
) -> list[Lifecycle]:
    """Positions that are open, or those that were closed; the one opened last first."""
    tracked = position_lifecycles.c
    exact = ("entry_price", "size", "peak_price", "last_price")
    rows = await connection.execute(
        select(
            *(
                func.trim_scale(tracked[name]).label(name) if name in exact else tracked[name]
                for name in Lifecycle.__struct_fields__
            )
        )
        .where(
            *_equal((tracked.strategy_id, strategy_id), (tracked.symbol, symbol)),
            tracked.closed_at.is_(None) if is_open else tracked.closed_at.is_not(None),
        )
        .order_by(tracked.opened_at.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, Lifecycle) for row in rows.mappings()]


async def skips(
    connection: AsyncConnection, *, symbol: str | None, strategy_id: str | None
) -> list[SkipCount]:
    """Skips per strategy, symbol and reason, over all minutes that are kept."""
    counted = skip_counts.c
    rows = await connection.execute(
        select(
            counted.strategy_id,
            counted.symbol,
            counted.reason,
            cast(func.sum(counted.skips), BigInteger).label("skips"),
            func.min(counted.minute).label("since"),
        )
        .where(*_equal((counted.symbol, symbol), (counted.strategy_id, strategy_id)))
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
        .where(*_equal((outcomes.strategy_id, strategy_id), (outcomes.symbol, symbol)))
        .order_by(outcomes.strategy_id, outcomes.symbol)
    )
    return [msgspec.convert(row, LatestOutcome) for row in rows.mappings()]


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


async def last_finished_training(connection: AsyncConnection, strategy_id: str | None) -> TrainingRun | None:
    """The run that ended last, of the strategy or of all."""
    rows = await connection.execute(
        select(run_rows)
        .where(run_rows.c.finished_at.is_not(None), *_equal((run_rows.c.strategy_id, strategy_id)))
        .order_by(run_rows.c.finished_at.desc())
        .limit(1)
    )
    row = rows.mappings().first()
    return msgspec.convert(training_runs.run_of(row), TrainingRun, from_attributes=True) if row else None


def _equal(*wanted: tuple[ColumnElement[Any], object]) -> list[ColumnElement[bool]]:
    return [column == value for column, value in wanted if value is not None]
