"""Lifecycles as rows: read and written under their lock, so that equal workers decide one after the other.

Every function takes the caller's transaction. A partial unique index admits one open lifecycle per symbol.
"""

import functools
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import structlog
from sqlalchemy import Select, bindparam, func, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.core.exits.position import UNATTRIBUTED, Opening, Side, Tracked, View, opened
from common.tables import orders, position_lifecycles, signal_outbox, trading_signals, training_runs
from common.training_runs import State
from exit_strategy.events import Event

log = structlog.get_logger(__name__)

LATE_ANSWER = timedelta(seconds=10)
"""An answer of the Position Manager that is older than the end of a lifecycle is not under way for longer."""

PAGE = 50
"""Rows that are read and decoded in one go."""

_BOOKED = ("filled", "partially_filled")


async def all_open(connection: AsyncConnection) -> list[Tracked]:
    """Every open lifecycle by its symbol; read in pages, so that prices are evaluated in between."""
    found: list[Tracked] = []
    while True:
        rows = await connection.execute(_page(), {"after": found[-1].symbol if found else ""})
        page = [msgspec.convert(row, Tracked) for row in rows.mappings()]
        found += page
        if len(page) < PAGE:
            return found


async def being_closed(connection: AsyncConnection) -> list[Tracked]:
    """Open lifecycles that are latched, or that an operator wants closed."""
    lifecycles = position_lifecycles.c
    rows = await connection.execute(
        select(position_lifecycles).where(
            lifecycles.closed_at.is_(None),
            or_(lifecycles.latched_rule.is_not(None), lifecycles.close_requested_at.is_not(None)),
        )
    )
    return [msgspec.convert(row, Tracked) for row in rows.mappings()]


async def begin(connection: AsyncConnection, view: View) -> Tracked | None:
    """A lifecycle that starts with `view`; None where somebody else started one, or it is over already.

    `view` has a size and an entry price.
    """
    if view.entry_price is None:
        return None
    if await _ended_after(connection, view):
        log.warning(
            Event.POSITION_NOT_APPLIED,
            symbol=view.symbol,
            reason=f"it was last changed at {view.seen_at.isoformat()}, before a position ended just now",
        )
        return None
    strategy_id, filled_at = await _opener(connection, view)
    opening = Opening(lifecycle_id=uuid4(), strategy_id=strategy_id, opened_at=filled_at or view.seen_at)
    tracked = opened(view, view.entry_price, opening)
    inserted = await connection.execute(
        insert(position_lifecycles)
        .values({name: value for name, value in msgspec.structs.asdict(tracked).items() if value is not None})
        .on_conflict_do_nothing(
            index_elements=["symbol"], index_where=position_lifecycles.c.closed_at.is_(None)
        )
        .returning(position_lifecycles.c.lifecycle_id)
    )
    return tracked if inserted.first() is not None else None


async def end(connection: AsyncConnection, tracked: Tracked, seen_at: datetime | None) -> None:
    """The lifecycle is over; `seen_at` is when the platform showed it, None: it is merely gone.

    The caller holds its lock.
    """
    await connection.execute(
        update(position_lifecycles)
        .where(position_lifecycles.c.lifecycle_id == tracked.lifecycle_id)
        .values(closed_at=func.now(), newest_event_at=seen_at or tracked.newest_event_at)
    )


async def dataset_build(connection: AsyncConnection) -> UUID | None:
    """The training whose dataset is being built: the Feature Service answers nobody meanwhile."""
    return await connection.scalar(
        select(training_runs.c.run_id).where(training_runs.c.state == State.BUILDING).limit(1)
    )


# A late view must not bring back a lifecycle that has ended. An end may be stamped by another clock than the
# view: what is still shown once no answer can be under way is open.
async def _ended_after(connection: AsyncConnection, view: View) -> bool:
    newest = await connection.scalar(
        select(func.max(position_lifecycles.c.newest_event_at)).where(
            position_lifecycles.c.symbol == view.symbol,
            position_lifecycles.c.closed_at > func.now() - LATE_ANSWER,
        )
    )
    return newest is not None and newest > view.seen_at


# The newest fill on the opening side: its strategy, and when. A fill can be quicker than the record of its
# signal, which follows the broker's confirmation; the intent is there before it is sent, but not for ever.
async def _opener(connection: AsyncConnection, view: View) -> tuple[str, datetime | None]:
    filled_at = func.timezone("UTC", func.coalesce(orders.c.executed_at, orders.c.updated_at))
    previous = (
        select(func.max(position_lifecycles.c.opened_at))
        .where(position_lifecycles.c.symbol == view.symbol)
        .scalar_subquery()
    )
    rows = await connection.execute(
        select(func.coalesce(signal_outbox.c.strategy_id, trading_signals.c.strategy_id), filled_at)
        .select_from(
            orders.outerjoin(signal_outbox, signal_outbox.c.signal_id == orders.c.signal_id).outerjoin(
                trading_signals, trading_signals.c.signal_id == orders.c.signal_id
            )
        )
        .where(
            orders.c.asset == view.symbol,
            func.lower(orders.c.side) == ("buy" if Side.of(view.size) is Side.LONG else "sell"),
            orders.c.status.in_(_BOOKED),
            filled_at > func.coalesce(previous, literal_column("'-infinity'::timestamptz")),
        )
        .order_by(filled_at.desc())
        .limit(1)
    )
    row = rows.first()
    if row is None:
        return UNATTRIBUTED, None
    return row[0] or UNATTRIBUTED, row[1]


@functools.cache
def _page() -> Select[Any]:
    return (
        select(position_lifecycles)
        .where(position_lifecycles.c.closed_at.is_(None), position_lifecycles.c.symbol > bindparam("after"))
        .order_by(position_lifecycles.c.symbol)
        .limit(PAGE)
    )
