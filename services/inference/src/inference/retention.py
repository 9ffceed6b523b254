"""What is deleted once it is old: the tables that grow with every vector and signal.

In bounded batches, each its own transaction, by one replica at a time. A pending intent is never deleted,
nor the newest intent of a symbol and kind: whoever asks for the last signal of a symbol finds it, however
long ago that was. trading_signals, alerts, operators' actions and the history of states and modes are kept.
"""

from collections.abc import Mapping
from datetime import timedelta

import structlog
from sqlalchemy import ColumnElement, Table, and_, delete, func, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from common.tables import (
    dead_letters,
    latest_outcomes,
    live_sums,
    minute_bars,
    signal_outbox,
    skip_counts,
    warmup_slots,
)
from inference.events import Event

log = structlog.get_logger(__name__)

BATCH = 2_000
"""Rows that one transaction deletes at most."""
BATCHES = 50
"""Batches of one table and round at most."""

_PATIENT = text("SET LOCAL statement_timeout = '2s'")
_ALONE = text("SELECT pg_try_advisory_xact_lock(hashtextextended('flotilla retention', 0))")
_CTID: ColumnElement[object] = literal_column("ctid")


class Retention:
    """Deletes intents older than `outbox`, and what monitoring shows older than `monitoring`."""

    def __init__(self, engine: AsyncEngine, *, outbox: timedelta, monitoring: timedelta) -> None:
        self._engine = engine
        self._old: Mapping[Table, ColumnElement[bool]] = {
            signal_outbox: _finished_before(outbox),
            skip_counts: skip_counts.c.minute < func.now() - monitoring,
            minute_bars: minute_bars.c.minute < func.now() - monitoring,
            live_sums: live_sums.c.hour < func.now() - monitoring,
            warmup_slots: warmup_slots.c.slot < func.now() - monitoring,
            latest_outcomes: latest_outcomes.c.decided_at < func.now() - monitoring,
            # Settled or not; one that waited long in the broker has its time here all the same.
            dead_letters: and_(
                dead_letters.c.failed_at < func.now() - monitoring,
                dead_letters.c.collected_at < func.now() - monitoring,
            ),
        }

    async def sweep(self) -> None:
        """At most BATCHES * BATCH old rows of each table are gone; the next round goes on."""
        for table, is_old in self._old.items():
            deleted = 0
            for _ in range(BATCHES):
                batch = await self._delete_batch(table, is_old)
                deleted += batch
                if batch < BATCH:
                    break
            if deleted:
                log.info(Event.OLD_ROWS_DELETED, table=table.name, rows=deleted)

    async def _delete_batch(self, table: Table, is_old: ColumnElement[bool]) -> int:
        async with self._engine.begin() as connection:
            await connection.execute(_PATIENT)
            if not await connection.scalar(_ALONE):
                return 0
            batch = (
                select(_CTID).select_from(table).where(is_old).limit(BATCH).correlate(None).scalar_subquery()
            )
            # As an array: a subquery in IN would be joined to the whole table.
            in_batch = func.array(batch).any_() == _CTID
            done = await connection.execute(delete(table).where(in_batch))
            return done.rowcount


def _finished_before(age: timedelta) -> ColumnElement[bool]:
    newer = signal_outbox.alias("newer")
    return and_(
        signal_outbox.c.state != "pending",
        signal_outbox.c.created_at < func.now() - age,
        select(newer.c.signal_id)
        .where(
            newer.c.symbol == signal_outbox.c.symbol,
            newer.c.kind == signal_outbox.c.kind,
            newer.c.created_at > signal_outbox.c.created_at,
        )
        .exists(),
    )
