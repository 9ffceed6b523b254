"""Entries that the Order Manager refused for want of balance: what the balance gate should have foreseen.

The figures are the fleet's, of the last hour, and the same in every replica.
"""

from datetime import timedelta
from decimal import Decimal

import msgspec
import structlog
from prometheus_client import Gauge
from sqlalchemy import and_, func, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.tables import orders, trading_signals
from common.trading_log import of_exit_rule
from inference.events import Event

log = structlog.get_logger(__name__)

WINDOW = timedelta(hours=1)

ENTRIES = Gauge("flotilla_entries_last_hour", "Entries that the fleet published in the last hour.")
REFUSED = Gauge(
    "flotilla_entries_refused_for_balance", "Of these, refused by the Order Manager: insufficient balance."
)
SHARE = Gauge(
    "flotilla_entries_refused_for_balance_share", "The same as a share of the entries, 0 without any."
)


class Rejections(msgspec.Struct, frozen=True, kw_only=True):
    """The entries of the last hour, and those of them that met no balance."""

    entries: int
    refused: int
    refused_quote: Decimal
    """Sum of the refused signals' adapted amounts."""
    newest_signal_id: str | None
    newest_amount: Decimal | None
    """The adapted amount that the newest refused order was for."""


class BalanceRejections:
    """Looks for them, and says so when their number changed."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._said = 0

    async def look(self) -> Rejections:
        """The gauges show the last hour."""
        async with self._engine.connect() as connection:
            found = await rejections(connection)
        ENTRIES.set(found.entries)
        REFUSED.set(found.refused)
        SHARE.set(found.refused / found.entries if found.entries else 0.0)
        if found.refused > self._said:
            log.warning(
                Event.ENTRIES_REFUSED_FOR_BALANCE,
                refused=found.refused,
                entries=found.entries,
                refused_quote=str(found.refused_quote),
                newest_signal_id=found.newest_signal_id,
                newest_amount=str(found.newest_amount),
            )
        self._said = found.refused
        return found


async def rejections(connection: AsyncConnection) -> Rejections:
    """The entries of the last hour, each joined to the rejection of its order where there is one."""
    signals = trading_signals.c
    refused = (
        select(orders.c.signal_id)
        .where(
            orders.c.signal_id == signals.signal_id,
            orders.c.status == "rejected",
            orders.c.rejection_reason.ilike("%insufficient balance%"),
        )
        .exists()
    )
    entry = and_(
        signals.timestamp > func.timezone("UTC", func.now()) - WINDOW,
        not_(of_exit_rule()),
    )
    marked = (
        select(signals.signal_id, signals.timestamp, signals.amount_quote, refused.label("refused"))
        .where(entry)
        .subquery()
    )
    totals = (
        await connection.execute(
            select(
                func.count().label("entries"),
                func.count().filter(marked.c.refused).label("refused"),
                func.coalesce(func.sum(marked.c.amount_quote).filter(marked.c.refused), 0).label("quote"),
            ).select_from(marked)
        )
    ).one()
    newest = (
        await connection.execute(
            select(marked.c.signal_id, marked.c.amount_quote)
            .where(marked.c.refused)
            .order_by(marked.c.timestamp.desc())
            .limit(1)
        )
    ).first()
    return Rejections(
        entries=totals.entries,
        refused=totals.refused,
        refused_quote=Decimal(totals.quote),
        newest_signal_id=str(newest.signal_id) if newest else None,
        newest_amount=newest.amount_quote if newest else None,
    )
