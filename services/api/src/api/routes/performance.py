"""Performance: what a strategy's orders came to, over time and in all."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.performance import EquityPoint, equity, max_drawdown
from api.parameters import StrategyPath
from api.periods import EndTime, GranularityChoice, StartTime, time_range
from api.problems import documented
from api.queries.performance import PeriodResult, course_by_period, fees_paid, results_by_period
from api.queries.positions import open_count
from api.settings import Settings
from common.errors import NotFound
from common.trading_log import Granularity


class PerformancePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One period of a strategy; one in which nothing was closed has no orders and no rates."""

    timestamp: datetime
    """The period's begin."""
    success_rate: float | None
    """Share of the orders that gained, after fees."""
    total_pnl: float
    """Realized, quote currency, after the fees of both sides."""
    avg_pnl: float | None
    """An order's, quote currency."""
    total_orders: int
    """Orders that closed a position or a part of one; those that only opened are no result yet."""
    successful_orders: int
    """Those that gained, after fees."""


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's results over time, every period of the range, the oldest first."""

    strategy_id: str
    granularity: Granularity
    start_time: datetime
    end_time: datetime
    data_points: list[PerformancePoint]
    """Every period of the range."""


class PerformanceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy realized in a range; quote currency, after the fees of both sides."""

    strategy_id: str
    granularity: Granularity
    start_time: datetime
    end_time: datetime
    realized_pnl: Decimal
    """The sum of all results."""
    fees: Decimal
    """Of all fills of the range, also of those that only opened."""
    total_orders: int
    """Orders that closed a position or a part of one, counted once in each period."""
    successful_orders: int
    """Those that gained, after fees."""
    success_rate: float | None
    """Null: nothing was closed."""
    best: Decimal | None
    """The result of the best order; null: nothing was closed."""
    worst: Decimal | None
    """The result of the worst order; null: nothing was closed."""
    max_drawdown: Decimal
    """The deepest fall of the equity from an earlier height, order by order; 0: it never fell."""
    open_positions: int
    """Now, whatever the range."""
    equity: list[EquityPoint]
    """Every period of the range, the oldest first."""


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
    _known(strategy_id, settings, any(each.total_orders for each in periods))
    return Performance(
        strategy_id=strategy_id,
        granularity=granularity,
        start_time=start,
        end_time=end,
        data_points=[_point(period) for period in periods],
    )


@get(
    "/strategies/{strategy_id:str}/performance/summary",
    operation_id="GetStrategySummary",
    summary="Results of a strategy in all",
    responses=documented(404),
)
async def summary(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    strategy_id: StrategyPath,
    *,
    start_time: StartTime = None,
    end_time: EndTime = None,
    granularity: GranularityChoice = "day",
) -> PerformanceSummary:
    """Realized results of the range, the equity that they make, and its deepest fall, order by order."""
    start, end = time_range(granularity, start_time, end_time, now=datetime.now(UTC))
    async with engine.connect() as connection:
        courses = await course_by_period(connection, strategy_id, granularity, start=start, end=end)
        fees = await fees_paid(connection, strategy_id, start=start, end=end)
        opened = await open_count(connection, strategy_id)
    _known(strategy_id, settings, bool(opened or fees or any(each.orders for each in courses)))
    curve = equity(courses)
    orders, gained = sum(each.orders for each in courses), sum(each.gained for each in courses)
    return PerformanceSummary(
        strategy_id=strategy_id,
        granularity=granularity,
        start_time=start,
        end_time=end,
        realized_pnl=curve[-1].equity,
        fees=fees,
        total_orders=orders,
        successful_orders=gained,
        success_rate=gained / orders if orders else None,
        best=max((each.best for each in courses if each.best is not None), default=None),
        worst=min((each.worst for each in courses if each.worst is not None), default=None),
        max_drawdown=max_drawdown(courses),
        open_positions=opened,
        equity=curve,
    )


# One that is traded no longer is known by its results.
def _known(strategy_id: str, settings: Settings, has_results: bool) -> None:
    if not has_results and strategy_id not in settings.strategies():
        raise NotFound("no such strategy: TRADING_STRATEGIES names those that there are")


def _point(period: PeriodResult) -> PerformancePoint:
    orders = period.total_orders
    return PerformancePoint(
        timestamp=period.timestamp,
        success_rate=period.successful_orders / orders if orders else None,
        total_pnl=period.total_pnl,
        avg_pnl=period.total_pnl / orders if orders else None,
        total_orders=orders,
        successful_orders=period.successful_orders,
    )
