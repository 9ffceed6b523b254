"""Monitoring: why was there no signal, how long do they take, what did the fleet see, what is wrong?"""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.skips import AssetSkips, by_asset_and_strategy, by_reason
from api.parameters import SYMBOL, Limit, StrategyFilter, SymbolFilter
from api.periods import utc
from api.problems import documented
from api.queries import outcomes
from api.queries.outcomes import LatestOutcome, MinuteBar
from common.alerts import Alert, recent_alerts
from common.processing_delay import ProcessingDelay, processing_delay

BARS_SPAN = timedelta(hours=6)
"""What is shown of a symbol's bars where the request does not say from when."""


class SkipMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and why, there was no signal."""

    total_skips: int
    """Over all strategies and symbols asked for."""
    by_asset_strategy: dict[str, AssetSkips]
    """By `strategy:asset`."""
    by_reason: dict[str, int]
    """How often for each reason."""
    last_reset: datetime | None
    """The first minute that had one of them; null: none had."""


class LatestOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """The last outcome of each strategy and symbol."""

    items: list[LatestOutcome]
    total: int


class Bars(msgspec.Struct, frozen=True, kw_only=True):
    """The newest minutes of the time asked for, the oldest of them first."""

    symbol: str
    items: list[MinuteBar]
    limit: int


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """The newest alerts first."""

    items: list[Alert]
    limit: int


@get(
    "/monitoring/signals/skip-metrics",
    operation_id="GetSkipMetrics",
    summary="Skipped signals by reason",
    responses=documented(),
)
async def skip_metrics(
    engine: NamedDependency[AsyncEngine],
    asset: SymbolFilter = None,
    strategy_id: StrategyFilter = None,
    hours: Annotated[int, QueryParameter(ge=1, le=2160, description="How far to look back.")] = 24,
) -> SkipMetrics:
    """Decisions that gave no signal, of all inference workers together."""
    since = datetime.now(UTC) - timedelta(hours=hours)
    async with engine.connect() as connection:
        counts = await outcomes.skips(connection, since, symbol=asset, strategy_id=strategy_id)
    return SkipMetrics(
        total_skips=sum(each.skips for each in counts),
        by_asset_strategy=by_asset_and_strategy(counts),
        by_reason=by_reason(counts),
        last_reset=min((each.since for each in counts), default=None),
    )


@get(
    "/monitoring/signals/processing-delay",
    operation_id="GetProcessingDelay",
    summary="From decision to publish",
    responses=documented(),
)
async def get_processing_delay(
    engine: NamedDependency[AsyncEngine],
    hours: Annotated[int, QueryParameter(ge=1, le=720, description="How far to look back.")] = 24,
) -> ProcessingDelay:
    """How long signals took from their decision to the broker's confirm, over the whole fleet."""
    async with engine.connect() as connection:
        return await processing_delay(connection, datetime.now(UTC) - timedelta(hours=hours))


@get(
    "/monitoring/outcomes",
    operation_id="ListLatestOutcomes",
    summary="Latest decision of each strategy and symbol",
    responses=documented(),
)
async def list_outcomes(
    engine: NamedDependency[AsyncEngine], strategy_id: StrategyFilter = None, symbol: SymbolFilter = None
) -> LatestOutcomes:
    """What became of the newest vector of each strategy and symbol: signal, or why not, with figures."""
    async with engine.connect() as connection:
        found = await outcomes.latest_outcomes(connection, strategy_id=strategy_id, symbol=symbol)
    return LatestOutcomes(items=found, total=len(found))


@get("/monitoring/bars", operation_id="ListBars", summary="The price that was seen", responses=documented())
async def list_bars(
    engine: NamedDependency[AsyncEngine],
    symbol: Annotated[str, QueryParameter(pattern=SYMBOL, description="The symbol.")],
    since: Annotated[
        datetime | None, QueryParameter(name="from", description="Earliest minute; without: 6 hours.")
    ] = None,
    until: Annotated[
        datetime | None, QueryParameter(name="to", description="Later minutes are left out; without: now.")
    ] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=10_080, description="Minutes at most.")] = 1_440,
) -> Bars:
    """Minute bars of the price that the fleet saw: open, high, low, close, in quote currency.

    Times without an offset are UTC. A minute without a usable vector has no bar.
    """
    end = utc("to", until) if until else datetime.now(UTC)
    start = utc("from", since) if since else end - BARS_SPAN
    async with engine.connect() as connection:
        found = await outcomes.bars(connection, symbol, start, end, limit)
    return Bars(symbol=symbol, items=found, limit=limit)


@get("/monitoring/alerts", operation_id="ListAlerts", summary="Alerts", responses=documented())
async def list_alerts(
    engine: NamedDependency[AsyncEngine],
    only_open: Annotated[bool, QueryParameter(description="Leave out what is over.")] = False,
    limit: Limit = 100,
) -> Alerts:
    """What an operator should look at, or should have: kind, scope, a sentence and its figures."""
    async with engine.connect() as connection:
        found = await recent_alerts(connection, only_open=only_open, limit=limit)
    return Alerts(items=found, limit=limit)
