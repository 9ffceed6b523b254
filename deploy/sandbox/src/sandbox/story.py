"""The story of a demo, counted from the database: what has happened since it began, and what is missing."""

from datetime import datetime
from typing import Any

import asyncpg
import msgspec

SIGNALS_WANTED = 5
FILLS_WANTED = 2


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """What happened since the demo began."""

    warmup_signals: int
    orders_filled: int
    orders_rejected: int
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


async def told_so_far(database: asyncpg.Pool, since: datetime) -> Chapter:
    """The counts since `since` (aware)."""
    row = await database.fetchrow(
        """
        SELECT (SELECT count(*) FROM trading_signals WHERE is_warmup AND timestamp >= $1) AS signals,
               count(*) FILTER (WHERE status = 'filled') AS filled,
               count(*) FILTER (WHERE status = 'rejected') AS rejected
        FROM orders WHERE created_at >= $1
        """,
        _naive(since),
    )
    skips = await database.fetch(
        """
        SELECT reason, sum(skips)::int AS skips FROM skip_counts
        WHERE minute >= date_trunc('minute', $1::timestamptz) GROUP BY reason ORDER BY skips DESC
        """,
        since,
    )
    return Chapter(
        warmup_signals=row["signals"],
        orders_filled=row["filled"],
        orders_rejected=row["rejected"],
        skips={each["reason"]: each["skips"] for each in skips},
    )


def missing(chapter: Chapter) -> list[str]:
    """What the story still lacks, in words; empty once it is whole."""
    wanted = (
        (chapter.warmup_signals >= SIGNALS_WANTED, f"{SIGNALS_WANTED} warm-up signals"),
        (chapter.orders_filled >= FILLS_WANTED, f"{FILLS_WANTED} filled orders"),
        (bool(chapter.skips), "a skip with its reason"),
    )
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


def _naive(instant: datetime) -> datetime:
    return instant.replace(tzinfo=None)
