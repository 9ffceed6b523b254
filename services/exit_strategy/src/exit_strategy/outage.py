"""Whether the database answers, and what is made up for once it does again."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import structlog
from sqlalchemy import cast, exists, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common import exits
from common.core.exits.exit_signal import WITHOUT_DATABASE
from common.core.exits.position import Tracked
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
        """The database does not answer: only stops run."""
        self._engine = engine
        self._spool = spool
        self._owner = owner
        self._is_drained = False
        self._draining = asyncio.Lock()
        self._since: datetime | None = None

    async def has_begun(self) -> bool:
        """Whether the database is down, asked anew after it failed somebody."""
        if not self.is_on and not await self._answers():
            self._begin()
        return self.is_on

    async def has_ended(self) -> bool:
        """Whether the database answers and holds all exits that were sent without it, by whomever."""
        if not self.is_on and self._is_drained and not self._spool.has_news:
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
        async with self._draining:
            held = await self._spool.read()
            confirmed = {line.signal_id for line in held.lines if isinstance(line, Confirmed)}
            sent = [line for line in held.lines if isinstance(line, SpooledExit)]
            stored = 0
            if sent:
                async with self._engine.begin() as connection:
                    for line in sent:
                        is_confirmed = line.signal_id in confirmed
                        stored += await self._store(connection, line, is_confirmed=is_confirmed)
            await self._spool.take_out(held)
        return stored

    async def catch_up(self) -> None:
        """What was sent without the database though it is back meanwhile is stored, too."""
        if not self.is_on and self._spool.has_news:
            await self.drain()

    def trouble(self) -> str | None:
        """Why only stops run, and whether a crash would lose what is known of their exits."""
        if not self.is_on:
            return None
        said = "the database does not answer: only stops run"
        if self._spool.unwritten:
            said += f"; EXIT_SPOOL_PATH cannot take {self._spool.unwritten} lines of exits that were sent"
        return said

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
                latched_rule=line.rule,
                latched_at=line.decided_at,
                exit_signal_id=line.signal_id,
                generation=lifecycle.generation + 1,
            )
        )
        return True


async def with_blind_exit(connection: AsyncConnection, begun: Tracked) -> Tracked:
    """`begun`, stored just now, with the latch of the exit that was sent of it while no database knew it.

    That is the newest exit of its symbol: sent without the database, of its side, since it was opened, and
    of no other lifecycle. The caller's transaction holds the row.
    """
    outbox, lifecycles = signal_outbox.c, position_lifecycles.c
    metadata = cast(outbox.payload, JSONB)["metadata"]
    rows = await connection.execute(
        select(
            outbox.signal_id,
            outbox.side,
            outbox.created_at,
            metadata["exit_reason"].as_string().label("rule"),
            metadata[WITHOUT_DATABASE].as_boolean().label("was_blind"),
            exists()
            .where(lifecycles.symbol == begun.symbol, lifecycles.exit_signal_id == outbox.signal_id)
            .label("is_others"),
        )
        .where(outbox.symbol == begun.symbol, outbox.kind == "exit")
        .order_by(outbox.created_at.desc())
        .limit(1)
    )
    sent = rows.first()
    if sent is None or not sent.was_blind or sent.is_others:
        return begun
    if sent.side != begun.side.closes_with or sent.created_at < begun.opened_at:
        return begun
    known = msgspec.structs.replace(
        begun,
        latched_rule=sent.rule,
        latched_at=sent.created_at,
        exit_signal_id=sent.signal_id,
        generation=begun.generation + 1,
    )
    await exits.save(connection, known)
    return known
