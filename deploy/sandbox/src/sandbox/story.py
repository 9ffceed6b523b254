"""The story of a demo: what has happened since it began, and what is still missing.

Counts come from the database; versions, the active one and open positions come through the API, because an
operator must be able to see them there.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec

SIGNALS_WANTED = 2
FILLS_WANTED = 2
EARNED = "accepted"


class VersionTold(msgspec.Struct, frozen=True, kw_only=True):
    """A trained version and what was made of it."""

    version: str
    verdict: str | None
    sentence: str | None
    test: dict[str, float]
    """Metrics on the test split."""
    baseline: float | None
    """Accuracy of the majority class on the same rows."""


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """What happened since the demo began."""

    warmup_signals: int
    versions: list[VersionTold]
    activated_version: str | None
    hot_reloads: int
    model_signals: int
    orders_filled: int
    orders_rejected: int
    exits: dict[str, int]
    """Exit signals by the rule that fired."""
    positions_open: int
    skips: dict[str, int]
    """Decisions without a signal, by reason."""


class OrderResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order."""

    id: Any
    asset: str
    side: str
    status: str
    order_type: str
    quantity: Any
    filled_quantity: Any
    average_price: Any
    price: Any
    fees: Any
    rejection_reason: str | None
    updated_at: datetime


class ExitSent(msgspec.Struct, frozen=True, kw_only=True):
    """An exit signal, as `trading_signals` keeps it."""

    signal_id: UUID
    strategy_id: str
    symbol: str
    rule: str
    stage: int
    price: Decimal
    pnl_pct: Decimal
    """Of the entry, before fees."""
    level: Decimal | None
    """The price from which on its rule fired; None: it looks at no price, or the signal was sent again."""
    size: Decimal
    live_size: Decimal


async def told_so_far(
    database: asyncpg.Pool, api: httpx.AsyncClient, since: datetime, hot_reloads: int
) -> Chapter:
    """What happened since `since` (aware). Raises httpx.HTTPError while the API does not answer."""
    signals = await database.fetchrow(
        """
        SELECT count(*) FILTER (WHERE is_warmup) AS warmup,
               count(*) FILTER (WHERE NOT is_warmup AND model_version IS NOT NULL
                                AND metadata->>'rule_triggered' IS NULL) AS model
        FROM trading_signals WHERE timestamp >= $1
        """,
        _naive(since),
    )
    orders = await database.fetchrow(
        """
        SELECT count(*) FILTER (WHERE status = 'filled') AS filled,
               count(*) FILTER (WHERE status = 'rejected') AS rejected
        FROM orders WHERE created_at >= $1
        """,
        _naive(since),
    )
    versions = await _versions(api, since)
    return Chapter(
        warmup_signals=signals["warmup"],
        versions=versions,
        activated_version=next((each["version"] for each in await _items(api, is_active="true")), None),
        hot_reloads=hot_reloads,
        model_signals=signals["model"],
        orders_filled=orders["filled"],
        orders_rejected=orders["rejected"],
        exits=await _exits(database, since),
        positions_open=await _positions_open(api),
        skips=await _skips(database, since),
    )


def missing(chapter: Chapter, *, promotion_owed: bool) -> list[str]:
    """What the story still lacks, in words; empty once it is whole.

    Real candles owe nobody a promotion: an honest refusal with its figures completes the story as well.
    """
    wanted = [
        (chapter.warmup_signals >= SIGNALS_WANTED, f"{SIGNALS_WANTED} warm-up signals"),
        (chapter.orders_filled >= FILLS_WANTED, f"{FILLS_WANTED} filled orders"),
        (bool(chapter.skips), "a skip with its reason"),
        (bool(chapter.versions), "a trained version with its verdict"),
    ]
    earned = any(each.verdict == EARNED for each in chapter.versions)
    if promotion_owed or earned:
        wanted += [
            (chapter.activated_version is not None, "an activated version"),
            (chapter.hot_reloads > 0, "a hot reload in inference"),
            (chapter.model_signals > 0, "a model signal"),
        ]
    if promotion_owed:
        wanted.append((bool(chapter.exits), "an exit by rule"))
    return [what for there, what in wanted if not there]


async def order_results(database: asyncpg.Pool, after: datetime) -> list[OrderResult]:
    """Orders that changed after `after` (naive UTC), oldest change first."""
    rows = await database.fetch(
        """
        SELECT id, asset, side, status, order_type, quantity, filled_quantity, average_price, price, fees,
               rejection_reason, updated_at
        FROM orders WHERE updated_at > $1 ORDER BY updated_at
        """,
        after,
    )
    return [OrderResult(**row) for row in rows]


async def exits_sent(database: asyncpg.Pool, since: datetime) -> list[ExitSent]:
    """The exit signals since `since` (aware), the oldest first, whoever sent them."""
    rows = await database.fetch(_EXITS_SENT, _naive(since))
    return [_exit(row["signal_id"], row["strategy_id"], row["asset"], row["metadata"]) for row in rows]


async def _versions(api: httpx.AsyncClient, since: datetime) -> list[VersionTold]:
    recent = [each for each in await _items(api) if datetime.fromisoformat(each["created_at"]) >= since]
    return [_told(await _get(api, f"/api/v1/models/{each['version']}")) for each in reversed(recent)]


def _told(detail: Mapping[str, Any]) -> VersionTold:
    test = {
        metric["metric_name"]: metric["metric_value"]
        for metric in detail["quality_metrics"]
        if (metric["metadata"] or {}).get("dataset_split") == "test"
    }
    return VersionTold(
        version=detail["version"],
        verdict=detail["verdict"],
        sentence=detail["verdict_sentence"],
        test=test,
        baseline=test.get("baseline_accuracy"),
    )


async def _items(api: httpx.AsyncClient, **filters: str) -> list[dict[str, Any]]:
    page = await _get(api, "/api/v1/models", **filters)
    return list(page["items"])


async def _positions_open(api: httpx.AsyncClient) -> int:
    positions = await _get(api, "/api/v1/positions")
    return sum(each["closed_at"] is None for each in positions["items"])


async def _get(api: httpx.AsyncClient, path: str, **filters: str) -> Any:
    answer = await api.get(path, params=filters)
    answer.raise_for_status()
    return answer.json()


async def _exits(database: asyncpg.Pool, since: datetime) -> dict[str, int]:
    rows = await database.fetch(
        """
        SELECT metadata->>'rule_triggered' AS rule, count(*)::int AS exits FROM trading_signals
        WHERE timestamp >= $1 AND metadata->>'rule_triggered' IS NOT NULL GROUP BY 1 ORDER BY 1
        """,
        _naive(since),
    )
    return {row["rule"]: row["exits"] for row in rows}


async def _skips(database: asyncpg.Pool, since: datetime) -> dict[str, int]:
    rows = await database.fetch(
        """
        SELECT reason, sum(skips)::int AS skips FROM skip_counts
        WHERE minute >= date_trunc('minute', $1::timestamptz) GROUP BY reason ORDER BY skips DESC
        """,
        since,
    )
    return {row["reason"]: row["skips"] for row in rows}


def _naive(instant: datetime) -> datetime:
    return instant.replace(tzinfo=None)


def _exit(signal_id: UUID, strategy_id: str, symbol: str, metadata: str) -> ExitSent:
    told: dict[str, Any] = json.loads(metadata)
    fired = [each for each in told["rules"] if each["rule"] == told["rule_triggered"]]
    return ExitSent(
        signal_id=signal_id,
        strategy_id=strategy_id,
        symbol=symbol,
        rule=told["rule_triggered"],
        stage=told["stage"],
        price=Decimal(told["price"]),
        pnl_pct=Decimal(told["pnl_pct"]),
        level=next((Decimal(each["level"]) for each in fired if "level" in each), None),
        size=Decimal(told["size"]),
        live_size=Decimal(told["live_size"]),
    )


_EXITS_SENT = """
SELECT signal_id, strategy_id, asset, metadata FROM trading_signals
WHERE timestamp >= $1 AND metadata->>'rule_triggered' IS NOT NULL ORDER BY timestamp
"""
