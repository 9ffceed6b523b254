"""What a strategy's orders came to, added up by PostgreSQL.

An order that closed in several parts counts once a period; orders that only opened are no result.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import (
    CTE,
    DateTime,
    Double,
    Function,
    Interval,
    Label,
    Numeric,
    Over,
    String,
    Subquery,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from api.core.performance import Course
from common.database import naive_utc
from common.tables import execution_events
from common.trading_log import Granularity

_STEP: dict[Granularity, timedelta] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_TICK = timedelta(microseconds=1)
_events = execution_events.c


class PeriodResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the orders of a strategy that closed something in one period came to."""

    timestamp: datetime
    """The period's begin."""
    total_orders: int
    successful_orders: int
    """Those that gained, after fees."""
    total_pnl: float
    """Quote currency, after fees."""


async def results_by_period(
    connection: AsyncConnection, strategy_id: str, granularity: Granularity, *, start: datetime, end: datetime
) -> list[PeriodResult]:
    """Every period from `start` to before `end`, also those in which nothing was closed."""
    orders = _by_order(strategy_id, granularity, start, end)
    periods = _periods(granularity, start, end)
    rows = await connection.execute(
        select(
            _begin(periods),
            func.count(orders.c.pnl).label("total_orders"),
            func.count().filter(orders.c.pnl > 0).label("successful_orders"),
            cast(func.coalesce(func.sum(orders.c.pnl), 0), Double).label("total_pnl"),
        )
        .select_from(periods.outerjoin(orders, orders.c.period == periods.c.period))
        .group_by(periods.c.period)
        .order_by(periods.c.period)
    )
    return [msgspec.convert(row, PeriodResult) for row in rows.mappings()]


async def course_by_period(
    connection: AsyncConnection, strategy_id: str, granularity: Granularity, *, start: datetime, end: datetime
) -> list[Course]:
    """As `results_by_period`, with how the sum of results moved from order to order."""
    orders = _by_order(strategy_id, granularity, start, end)
    levels = select(orders, _in_turn(func.sum(orders.c.pnl), orders).label("level")).subquery()
    height = func.greatest(_in_turn(func.max(levels.c.level), levels), 0).label("height")
    way = select(levels, height).subquery()
    periods = _periods(granularity, start, end)
    rows = await connection.execute(
        select(
            _begin(periods),
            func.count(way.c.pnl).label("orders"),
            func.count().filter(way.c.pnl > 0).label("gained"),
            *(
                func.trim_scale(value).label(name)
                for name, value in {
                    "realized_pnl": func.coalesce(func.sum(way.c.pnl), 0),
                    "best": func.max(way.c.pnl),
                    "worst": func.min(way.c.pnl),
                    "peak": func.greatest(func.max(way.c.level), 0),
                    "trough": func.least(func.min(way.c.level), 0),
                    "drawdown": func.coalesce(func.max(way.c.height - way.c.level), 0),
                }.items()
            ),
        )
        .select_from(periods.outerjoin(way, way.c.period == periods.c.period))
        .group_by(periods.c.period)
        .order_by(periods.c.period)
    )
    return [msgspec.convert(row, Course) for row in rows.mappings()]


async def fees_paid(
    connection: AsyncConnection, strategy_id: str, *, start: datetime, end: datetime
) -> Decimal:
    """The fees of all fills of the strategy, those that opened included, quote currency."""
    paid = await connection.scalar(
        select(func.trim_scale(func.coalesce(func.sum(_events.execution_fees), 0))).where(
            *_of(strategy_id, start, end)
        )
    )
    return Decimal(paid or 0)


def _by_order(strategy_id: str, granularity: Granularity, start: datetime, end: datetime) -> Subquery:
    pnl = cast(_events.performance["realized_pnl"].as_string(), Numeric)
    # Rows of the platform's older service name no order.
    order_key = func.coalesce(_events.performance["order_id"].as_string(), cast(_events.id, String))
    return (
        select(
            func.date_trunc(granularity, _events.executed_at).label("period"),
            order_key.label("order_key"),
            func.sum(pnl).label("pnl"),
            func.max(_events.executed_at).label("at"),
        )
        .where(*_of(strategy_id, start, end), pnl.is_not(None))
        .group_by("period", order_key)
        .subquery()
    )


def _of(strategy_id: str, start: datetime, end: datetime) -> tuple[Any, ...]:
    return (
        _events.strategy_id == strategy_id,
        _events.executed_at >= naive_utc(start),
        _events.executed_at < naive_utc(end),
    )


# From the period's first order to this one.
def _in_turn(what: Function[Any], orders: Subquery) -> Over[Any]:
    return what.over(partition_by=orders.c.period, order_by=(orders.c.at, orders.c.order_key), rows=(None, 0))


def _periods(granularity: Granularity, start: datetime, end: datetime) -> CTE:
    first = func.date_trunc(granularity, literal(naive_utc(start), DateTime()))
    last = literal(naive_utc(end) - _TICK, DateTime())
    step = literal(_STEP[granularity], Interval())
    return select(func.generate_series(first, last, step).label("period")).cte("periods")


def _begin(periods: CTE) -> Label[datetime]:
    return func.timezone("UTC", periods.c.period).label("timestamp")
