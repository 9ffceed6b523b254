"""Skips, added up as operators ask for them."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import msgspec


class SkipCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often a strategy skipped a symbol for a reason, since `since`."""

    strategy_id: str
    symbol: str
    reason: str
    skips: int
    since: datetime


class AssetSkips(msgspec.Struct, frozen=True, kw_only=True):
    """The skips of one strategy on one symbol."""

    strategy_id: str
    asset: str
    """The symbol."""
    total_skips: int
    by_reason: dict[str, int]
    """How often for each reason."""


def by_reason(counts: Iterable[SkipCount]) -> dict[str, int]:
    """Skips by reason, the most frequent first."""
    totals: Counter[str] = Counter()
    for each in counts:
        totals[each.reason] += each.skips
    return dict(totals.most_common())


def by_asset_and_strategy(counts: Iterable[SkipCount]) -> dict[str, AssetSkips]:
    """The skips of each strategy and symbol under the key `strategy:symbol`."""
    grouped: dict[tuple[str, str], list[SkipCount]] = {}
    for each in counts:
        grouped.setdefault((each.strategy_id, each.symbol), []).append(each)
    return {
        f"{strategy_id}:{symbol}": AssetSkips(
            strategy_id=strategy_id,
            asset=symbol,
            total_skips=sum(each.skips for each in group),
            by_reason=by_reason(group),
        )
        for (strategy_id, symbol), group in sorted(grouped.items())
    }
