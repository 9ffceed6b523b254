"""The positions that the exit rules watch."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Double, Numeric, RowMapping, case, cast, func, null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.core.pages import Window
from api.queries.conditions import equal, within
from common.core.exits.position import Tracked, Verdict
from common.tables import position_lifecycles

_tracked = position_lifecycles.c
_PCT_DIGITS = 6


class Lifecycle(msgspec.Struct, frozen=True, kw_only=True):
    """A position from its opening to its close, as the exit rules see it."""

    lifecycle_id: UUID
    symbol: str
    side: Literal["long", "short"]
    strategy_id: str
    """Whose filled entry opened it; `unattributed`: nobody's of ours."""
    opened_at: datetime
    """When it was opened."""
    entry_price: Decimal
    """Quote currency."""
    size: Decimal
    """Base currency, negative for a short."""
    peak_price: Decimal
    """The best price since it was opened."""
    best_pnl_pct: Decimal | None
    """The best profit since it was opened, percent of the entry."""
    armed: bool
    """The trailing stop follows the price."""
    stop_price: Decimal | None
    """The tightest stop of its life, whichever rule set it; null: no rule has set one."""
    stage: int
    """Partial exits taken."""
    generation: int
    """Exit signals issued in its life, of every rule and stage."""
    latched_rule: str | None
    """The exit rule that fired."""
    latched_at: datetime | None
    """When it fired."""
    exit_signal_id: UUID | None
    """The exit that is under way; null: none is."""
    last_exit_at: datetime | None
    """When the broker confirmed the newest exit."""
    refusals: int
    """Exits in a row that came to nothing."""
    newest_event_at: datetime
    """Of the newest update from the Position Manager."""
    last_price: Decimal | None
    """The price that it was last held against."""
    last_evaluated_at: datetime | None
    """When that was."""
    coverage_seconds: float | None
    """How long ago a price was last held against its rules, in seconds; null: never, or it is closed."""
    price_source: str | None
    """Where that price came from."""
    unrealized_pnl_pct: Decimal | None
    """Profit at that price, percent of the entry, before fees; null: no price yet, or it is closed."""
    verdicts: list[Verdict] | None
    """What every rule said of that price."""
    rules_version: str | None
    """Names the rules it was held against."""
    close_requested_at: datetime | None
    """When an operator asked for its close."""
    close_actor: str | None
    """Who asked."""
    close_reason: str | None
    """Why, in the words of who asked."""
    closed_at: datetime | None
    """Null: it is open."""


async def lifecycles(
    connection: AsyncConnection,
    window: Window,
    *,
    strategy_id: str | None = None,
    symbol: str | None = None,
    is_open: bool = True,
) -> list[Lifecycle]:
    """Positions that are open, or those that were closed; the one opened last first, one above the limit."""
    rows = await connection.execute(
        select(*_shown())
        .where(
            *equal((_tracked.strategy_id, strategy_id), (_tracked.symbol, symbol)),
            _tracked.closed_at.is_(None) if is_open else _tracked.closed_at.is_not(None),
            *within(window, _tracked.opened_at, _tracked.lifecycle_id),
        )
        .order_by(_tracked.opened_at.desc(), _tracked.lifecycle_id.desc())
        .limit(window.limit + 1)
    )
    return [_lifecycle(row) for row in rows.mappings()]


async def open_count(connection: AsyncConnection, strategy_id: str) -> int:
    """How many positions of the strategy are open."""
    counted = await connection.scalar(
        select(func.count())
        .select_from(position_lifecycles)
        .where(_tracked.strategy_id == strategy_id, _tracked.closed_at.is_(None))
    )
    return counted or 0


def _shown() -> list[ColumnElement[Any]]:
    silent_s = func.extract("epoch", func.now() - _tracked.last_evaluated_at)
    is_watched = _tracked.closed_at.is_(None) & _tracked.last_evaluated_at.is_not(None)
    return [
        *(
            func.trim_scale(column).label(column.name) if isinstance(column.type, Numeric) else column
            for column in _tracked
        ),
        case((is_watched, cast(func.greatest(silent_s, 0), Double))).label("coverage_seconds"),
        null().label("unrealized_pnl_pct"),
    ]


def _lifecycle(row: RowMapping) -> Lifecycle:
    found = msgspec.convert(row, Lifecycle)
    if found.last_price is None or found.closed_at is not None:
        return found
    pnl_pct = msgspec.convert(row, Tracked).pnl_pct(found.last_price)
    plain = f"{round(pnl_pct, _PCT_DIGITS).normalize():f}"
    return msgspec.structs.replace(found, unrealized_pnl_pct=Decimal(plain))
