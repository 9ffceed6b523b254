"""Performance: what a strategy's orders came to, hour by hour, day by day or week by week."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.exceptions import ValidationException
from litestar.params import QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.parameters import StrategyPath
from api.problems import documented
from api.settings import Settings
from common.errors import NotFound
from common.trading_log import Granularity, PeriodResult, results_by_period

DEFAULT_RANGE: dict[Granularity, timedelta] = {
    "hour": timedelta(days=2),
    "day": timedelta(days=30),
    "week": timedelta(weeks=26),
}
"""How far back it goes where no `start_time` is given."""
MAX_RANGE: dict[Granularity, timedelta] = {
    "hour": timedelta(days=92),
    "day": timedelta(days=1830),
    "week": timedelta(days=3660),
}
"""A longer range is refused: nobody reads more points."""
YEARS = range(2000, 2101)
"""Others are mistakes, and at the calendar's ends no arithmetic is possible."""

GranularityChoice = Annotated[Granularity, QueryParameter(description="Calendar periods in UTC.")]
StartTime = Annotated[datetime | None, QueryParameter(description="Inclusive; without an offset UTC.")]
EndTime = Annotated[datetime | None, QueryParameter(description="Exclusive; now where it is not given.")]


class PerformancePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One period of a strategy in which an order closed something."""

    timestamp: datetime
    """The period's begin."""
    success_rate: float
    """Share of the orders that gained, after fees."""
    total_pnl: float
    """Realized, quote currency, after the fees of both sides."""
    avg_pnl: float
    """An order's, quote currency."""
    total_orders: int
    """Orders that closed a position or a part of one; those that only opened are no result yet."""
    successful_orders: int


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's results over time, the oldest first; a period without any is left out."""

    strategy_id: str
    granularity: Granularity
    start_time: datetime
    end_time: datetime
    data_points: list[PerformancePoint]


@get(
    "/strategies/{strategy_id:str}/performance/time-series",
    operation_id="GetStrategyPerformance",
    summary="Results of a strategy over time",
    responses=documented(404),
)
async def time_series(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    strategy_id: StrategyPath,
    *,
    granularity: GranularityChoice = "day",
    start_time: StartTime = None,
    end_time: EndTime = None,
) -> Performance:
    """Realized results by period; the first and the last one may be cut by the range."""
    end = _utc("end_time", end_time) if end_time else datetime.now(UTC)
    start = _utc("start_time", start_time) if start_time else end - DEFAULT_RANGE[granularity]
    _refuse_odd_range(granularity, start, end)
    async with engine.connect() as connection:
        periods = await results_by_period(connection, strategy_id, granularity, start=start, end=end)
    if not periods and strategy_id not in settings.strategies():
        raise NotFound("no such strategy: TRADING_STRATEGIES names those that there are")
    return Performance(
        strategy_id=strategy_id,
        granularity=granularity,
        start_time=start,
        end_time=end,
        data_points=[_point(period) for period in periods],
    )


def _refuse_odd_range(granularity: Granularity, start: datetime, end: datetime) -> None:
    if start >= end:
        raise _fault("start_time", "must be before end_time")
    if end - start > MAX_RANGE[granularity]:
        days = MAX_RANGE[granularity].days
        raise _fault("start_time", f"must be at most {days} days before end_time, by {granularity}")


def _point(period: PeriodResult) -> PerformancePoint:
    return PerformancePoint(
        timestamp=period.timestamp,
        success_rate=period.successful_orders / period.total_orders,
        total_pnl=period.total_pnl,
        avg_pnl=period.total_pnl / period.total_orders,
        total_orders=period.total_orders,
        successful_orders=period.successful_orders,
    )


def _utc(name: str, moment: datetime) -> datetime:
    if moment.year not in YEARS:
        raise _fault(name, f"must be in the years {YEARS.start} to {YEARS.stop - 1}")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _fault(name: str, message: str) -> ValidationException:
    return ValidationException(extra=[{"key": name, "message": message}])
