"""What the console's charts show: signals and positions of a symbol, skips and results over time."""

from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import BigInteger, Double, Numeric, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.console.figures import Equity, Mark, Skipped, Watched
from api.queries.conditions import equal
from common.database import naive_utc
from common.tables import execution_events, position_lifecycles, skip_counts, trading_signals

_ORIGIN = datetime(2020, 1, 1, tzinfo=UTC)


async def marks(connection: AsyncConnection, symbol: str, since: datetime, limit: int) -> list[Mark]:
    """The newest `limit` signals of the symbol since then."""
    sent = trading_signals.c
    rows = await connection.execute(
        select(
            func.timezone("UTC", sent.timestamp).label("at"),
            sent.strategy_id,
            sent.side,
            cast(sent.price, Double).label("price"),
            sent.model_version.label("version"),
            sent.is_warmup,
            sent.metadata["rule_triggered"].astext.label("rule"),
        )
        .where(sent.asset == symbol, sent.timestamp >= naive_utc(since))
        .order_by(sent.timestamp.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, Mark) for row in rows.mappings()]


async def watched(connection: AsyncConnection, symbol: str, since: datetime, limit: int) -> list[Watched]:
    """The newest `limit` positions of the symbol that were open at some time since then."""
    tracked = position_lifecycles.c
    rows = await connection.execute(
        select(
            tracked.strategy_id,
            tracked.side,
            tracked.opened_at,
            tracked.closed_at,
            cast(tracked.entry_price, Double).label("entry_price"),
            cast(tracked.stop_price, Double).label("stop_price"),
        )
        .where(tracked.symbol == symbol, tracked.closed_at.is_(None) | (tracked.closed_at >= since))
        .order_by(tracked.opened_at.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, Watched) for row in rows.mappings()]


async def skips_over_time(
    connection: AsyncConnection, since: datetime, bucket: timedelta, *, strategy_id: str | None
) -> list[Skipped]:
    """Skips by reason in buckets of that length, the oldest first."""
    counted = skip_counts.c
    at = func.date_bin(bucket, counted.minute, _ORIGIN).label("at")
    rows = await connection.execute(
        select(at, counted.reason, cast(func.sum(counted.skips), BigInteger).label("skips"))
        .where(counted.minute >= since, *equal((counted.strategy_id, strategy_id)))
        .group_by(at, counted.reason)
        .order_by(at)
    )
    return [msgspec.convert(row, Skipped) for row in rows.mappings()]


async def first_result(
    connection: AsyncConnection, since: datetime, *, strategy_id: str | None
) -> datetime | None:
    """When the first fill since then was executed; None: there was none."""
    events = execution_events.c
    # By strategy first: else PostgreSQL looks for a strategy's first fill among those of all.
    order = [events.executed_at] if strategy_id is None else [events.strategy_id.desc(), events.executed_at]
    found = await connection.execute(
        select(func.timezone("UTC", events.executed_at))
        .where(events.executed_at >= naive_utc(since), *equal((events.strategy_id, strategy_id)))
        .order_by(*order)
        .limit(1)
    )
    first: datetime | None = found.scalar_one_or_none()
    return first


async def equity(
    connection: AsyncConnection, since: datetime, bucket: timedelta, *, strategy_id: str | None
) -> list[Equity]:
    """Realized results by strategy in buckets of that length, the oldest first; what only opened is none."""
    events = execution_events.c
    pnl = cast(events.performance["realized_pnl"].as_string(), Numeric)
    at = func.date_bin(bucket, func.timezone("UTC", events.executed_at), _ORIGIN).label("at")
    rows = await connection.execute(
        select(
            at,
            events.strategy_id,
            cast(func.sum(pnl), Double).label("pnl"),
            cast(func.sum(case((pnl > 0, 1), else_=0)), BigInteger).label("gained"),
            func.count().label("closed"),
        )
        .where(
            events.executed_at >= naive_utc(since),
            pnl.is_not(None),
            *equal((events.strategy_id, strategy_id)),
        )
        .group_by(at, events.strategy_id)
        .order_by(at)
    )
    return [msgspec.convert(row, Equity) for row in rows.mappings()]
