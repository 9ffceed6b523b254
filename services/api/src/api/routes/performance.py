"""Performance: what a strategy's orders came to, hour by hour, day by day or week by week."""

from datetime import UTC, datetime

import msgspec
from litestar import get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncEngine

from api.parameters import StrategyPath
from api.periods import EndTime, GranularityChoice, StartTime, time_range
from api.problems import documented
from api.settings import Settings
from common.errors import NotFound
from common.trading_log import Granularity, PeriodResult, results_by_period


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
    start, end = time_range(granularity, start_time, end_time, now=datetime.now(UTC))
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


def _point(period: PeriodResult) -> PerformancePoint:
    return PerformancePoint(
        timestamp=period.timestamp,
        success_rate=period.successful_orders / period.total_orders,
        total_pnl=period.total_pnl,
        avg_pnl=period.total_pnl / period.total_orders,
        total_orders=period.total_orders,
        successful_orders=period.successful_orders,
    )
