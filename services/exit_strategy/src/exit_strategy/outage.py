"""Whether the database answers, and what is made up for once it does again."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import structlog
from sqlalchemy import text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.database import DATABASE_ERRORS
from common.messages import TradingSignal
from common.signal_outbox import Fate
from common.tables import position_lifecycles, signal_outbox
from common.trading_log import append_signal
from exit_strategy.events import Event
from exit_strategy.metrics import DATABASE_DOWN
from exit_strategy.spool import Confirmed, Spool, SpooledExit

log = structlog.get_logger(__name__)

PROBE_TIMEOUT_S = 1.5
"""A database that answers nothing for so long is down."""

_signal = msgspec.json.Decoder(TradingSignal)


class Outage:
    """The database as one worker sees it; `engine` is for this alone.

    A pool whose connections all wait for a lock is no database that is down.
    """

    def __init__(self, engine: AsyncEngine, spool: Spool, *, owner: str) -> None:
        self.is_on = False
        """The database does not answer: only stop losses run."""
        self._engine = engine
        self._spool = spool
        self._owner = owner
        self._is_drained = False
        self._since: datetime | None = None

    async def has_begun(self) -> bool:
        """Whether the database is down, asked anew after it failed somebody."""
        if not self.is_on and not await self._answers():
            self._begin()
        return self.is_on

    async def has_ended(self) -> bool:
        """Whether the database answers and holds all exits that were sent without it, by whomever."""
        if not self.is_on and self._is_drained:
            return True
        if not await self._answers():
            self._begin()
            return False
        stored = await self.drain()
        self._is_drained = True
        if self.is_on:
            down_s = (datetime.now(UTC) - self._since).total_seconds() if self._since else 0.0
            log.warning(Event.DATABASE_BACK, stored=stored, down_s=round(down_s, 1))
        self.is_on = False
        DATABASE_DOWN.set(0)
        return True

    async def drain(self) -> int:
        """Exits of the spool stand in the outbox and on their positions; returns how many were new to it.

        One that was never confirmed stands there as pending and lapsed: whoever looks for such ends it, as
        sent where the Order Manager has an order of it. Raises what the database raises.
        """
        held, lines = await self._spool.read()
        confirmed = {line.signal_id for line in lines if isinstance(line, Confirmed)}
        stored = 0
        async with self._engine.begin() as connection:
            for line in lines:
                if isinstance(line, SpooledExit):
                    stored += await self._store(connection, line, is_confirmed=line.signal_id in confirmed)
        if held:
            await self._spool.take_out(held)
        return stored

    async def aclose(self) -> None:
        """Its connections are closed."""
        await self._engine.dispose()

    def _begin(self) -> None:
        if not self.is_on:
            self.is_on = True
            self._since = datetime.now(UTC)
            DATABASE_DOWN.set(1)
            log.error(Event.DATABASE_LOST)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S), self._engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except DATABASE_ERRORS:
            return False
        return True

    async def _store(self, connection: AsyncConnection, line: SpooledExit, *, is_confirmed: bool) -> bool:
        signal = _signal.decode(line.body)
        inserted = await connection.execute(
            insert(signal_outbox)
            .values(
                signal_id=line.signal_id,
                kind="exit",
                strategy_id=signal.strategy_id,
                symbol=line.symbol,
                side=signal.signal_type,
                amount_quote=Decimal(repr(signal.amount)),
                payload=line.body,
                trace_id=line.trace_id,
                valid_until=line.valid_until,
                state=Fate.PUBLISHED if is_confirmed else Fate.PENDING,
                reason="sent while the database was down",
                owner=self._owner,
                lease_until=line.decided_at,
                created_at=line.decided_at,
                published_at=line.decided_at if is_confirmed else None,
            )
            .on_conflict_do_nothing(index_elements=["signal_id"])
            .returning(signal_outbox.c.signal_id)
        )
        if inserted.first() is None:
            return False
        if is_confirmed:
            await append_signal(connection, signal)
        lifecycle = position_lifecycles.c
        await connection.execute(
            update(position_lifecycles)
            .where(
                lifecycle.symbol == line.symbol,
                lifecycle.side == line.side,
                lifecycle.opened_at <= line.decided_at,
                lifecycle.closed_at.is_(None),
            )
            .values(
                latched_rule="stop_loss",
                latched_at=line.decided_at,
                exit_signal_id=line.signal_id,
                generation=lifecycle.generation + 1,
            )
        )
        return True
