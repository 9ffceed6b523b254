"""Monitoring: why was there no signal?"""

from datetime import datetime

import msgspec
from litestar import get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncEngine

from api import queries
from api.core.skips import AssetSkips, by_asset_and_strategy, by_reason
from api.parameters import StrategyFilter, SymbolFilter
from api.problems import documented


class SkipMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and why, there was no signal."""

    total_skips: int
    by_asset_strategy: dict[str, AssetSkips]
    """By `strategy:asset`."""
    by_reason: dict[str, int]
    last_reset: datetime | None
    """The minute from which on skips are counted here; null: none were."""


@get(
    "/monitoring/signals/skip-metrics",
    operation_id="GetSkipMetrics",
    summary="Skipped signals by reason",
    responses=documented(),
)
async def skip_metrics(
    engine: NamedDependency[AsyncEngine], asset: SymbolFilter = None, strategy_id: StrategyFilter = None
) -> SkipMetrics:
    """Decisions that gave no signal, of all inference workers together."""
    async with engine.connect() as connection:
        counts = await queries.skips(connection, symbol=asset, strategy_id=strategy_id)
    return SkipMetrics(
        total_skips=sum(each.skips for each in counts),
        by_asset_strategy=by_asset_and_strategy(counts),
        by_reason=by_reason(counts),
        last_reset=min((each.since for each in counts), default=None),
    )
