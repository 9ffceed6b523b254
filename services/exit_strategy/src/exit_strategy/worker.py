"""A price's way to an exit: believe it, look, lock the lifecycle, step, dispatch, claim, commit, publish.

What a first look (`lookout`) finds nothing in goes no further. No HTTP and no publish happens while a row is
locked. State and intent are one commit: a crash leaves either nothing or an intent that ends with its
validity. While the database does not answer, the stop loss goes another way (`blind_stop`).
"""

import asyncio
import time
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common import exits, tracing
from common.core.exits.dispatch import PATIENCE, Done, Wait, was_reopened
from common.core.exits.holds import Hold
from common.core.exits.position import Price, Tracked, Verdict, View, continues, is_outdated, resized
from common.core.exits.rules import OPERATOR
from common.core.exits.step import Exit
from common.database import DATABASE_ERRORS
from common.errors import FleetError, TryAgain, Unusable, first_line
from common.exit_traffic import situation
from common.exits import Issued
from common.messages import PositionUpdated
from common.position_manager import PositionManager
from common.signal_outbox import Claim, Fate, SignalOutbox
from exit_strategy import positions
from exit_strategy.blind_stop import BlindStop, view_of
from exit_strategy.core.quarantine import Recent, admitted
from exit_strategy.events import Event
from exit_strategy.lookout import Lookout
from exit_strategy.metrics import CONFIRM_S, EVALUATION_S, EXITS, QUARANTINED
from exit_strategy.notes import Notes, log_emitted, log_opened, log_triggered
from exit_strategy.outage import Outage, with_blind_exit
from exit_strategy.policy import Policy
from exit_strategy.prices import AskedPrices

log = structlog.get_logger(__name__)


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """An exit that stands in the outbox and may be published."""

    tracked: Tracked
    claim: Claim


class Worker:
    """Watches positions beside its peers; one symbol at a time, different symbols side by side."""

    def __init__(
        self,
        policy: Policy,
        engine: AsyncEngine,
        outbox: SignalOutbox,
        manager: PositionManager,
        *,
        prices: AskedPrices,
        outage: Outage,
        blind: BlindStop,
    ) -> None:
        self._policy = policy
        self._engine = engine
        self._outbox = outbox
        self._manager = manager
        self._prices = prices
        self._outage = outage
        self._blind = blind
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._recent: dict[str, Recent] = {}
        self._notes = Notes()
        self._lookout = Lookout(policy, engine, blind, self._evaluate)

    async def aclose(self) -> None:
        """Nothing goes on by itself any more: what debounce windows waited for is seen by the next price."""
        await self._lookout.aclose()

    async def on_price(self, symbol: str, price: Price) -> None:
        """The open position of `symbol`, if any, was evaluated at `price`, and its exit is on its way.

        A price far from the recent ones is evaluated once another one confirms it; one is asked for at once.
        """
        heard = time.perf_counter()
        with tracing.bound(tracing.current(), symbol=symbol):
            if not self._believes(symbol, price):
                price = await self._prices.latest(symbol, _utcnow())
                if price.value is None or not self._believes(symbol, price):
                    return
            await self._evaluate(symbol, price, heard)

    async def on_request(self, symbol: str) -> None:
        """What an operator asked of the position of `symbol` is on its way, whatever its price."""
        nothing = Price(value=None, seen_at=_utcnow(), source="operator")
        with tracing.bound(tracing.current(), symbol=symbol):
            await self._evaluate(symbol, nothing)

    async def on_update(self, update: PositionUpdated) -> None:
        """The lifecycle of the symbol is as the Position Manager shows it now, else as the update says.

        An update that tells a close closes first: the Position Manager may show the next position already.
        No update has an entry price: where the Position Manager does not answer, one that opens a position
        raises TryAgain, as does every one while the database does not answer.
        """
        told = View(symbol=update.symbol, size=update.size, entry_price=None, seen_at=update.timestamp)
        if not told.size:
            await self.on_view(told)
        try:
            position = await self._manager.position(update.symbol)
        except FleetError as error:
            log.warning(Event.POSITION_NOT_READ, symbol=update.symbol, reason=str(error))
            await self.on_view(told)
        else:
            shown = msgspec.structs.replace(told, size=Decimal(0)) if position is None else view_of(position)
            await self.on_view(shown)

    async def on_view(self, view: View) -> None:
        """The lifecycle of the symbol is as `view` shows it, and a latched exit goes on with it.

        Raises TryAgain where the database does not answer, or a new position has no entry price yet.
        """
        with tracing.bound(tracing.current(), symbol=view.symbol):
            try:
                async with self._locks[view.symbol], self._engine.begin() as connection:
                    tracked = await exits.locked(connection, view.symbol)
                    is_applied = await self._apply(connection, tracked, view)
                if tracked is not None and tracked.latched_rule is not None and view.size:
                    await self.advance(view.symbol)
            except DATABASE_ERRORS as error:
                self._blind.saw(view)
                raise TryAgain(f"database: {first_line(error)}") from error
            if not is_applied:
                raise TryAgain(
                    f"{view.symbol}: the Position Manager did not say at which price it was opened"
                )

    async def on_gone(self, tracked: Tracked) -> None:
        """A lifecycle that the Position Manager does not show is over, unless it changed meanwhile."""
        async with self._locks[tracked.symbol], self._engine.begin() as connection:
            known = await exits.locked(connection, tracked.symbol)
            if known is None or known.lifecycle_id != tracked.lifecycle_id:
                return
            if known.newest_event_at == tracked.newest_event_at:
                await self._close(connection, known, None)

    def is_refused(self, tracked: Tracked) -> bool:
        """Whether so many exits of `tracked` in a row came to nothing that few are tried now."""
        # The row counts an exit that came to nothing when the next one is issued.
        last = self._notes.reason(tracked) is Hold.EXITS_REFUSED_REPEATEDLY
        return last or tracked.refusals >= PATIENCE

    async def advance(self, symbol: str) -> None:
        """What a latched rule of `symbol` may send now is sent."""
        if not self._blind.is_busy(symbol):
            await self._carry_out(symbol, await self._alone(symbol, None))

    def forget(self, watched: set[str], asked_at: float) -> None:
        """Of symbols without a position nothing is remembered.

        `watched` are all symbols with one, as they were asked for at `asked_at` by the loop's clock.
        """
        self._lookout.counted(watched, asked_at)
        self._recent = {symbol: recent for symbol, recent in self._recent.items() if symbol in watched}
        for symbol in self._locks.keys() - watched:
            if not self._locks[symbol].locked():
                del self._locks[symbol]

    def _believes(self, symbol: str, price: Price) -> bool:
        recent, is_admitted = admitted(
            self._recent.get(symbol, Recent()), price, self._policy.price_deviations
        )
        self._recent[symbol] = recent
        if not is_admitted:
            QUARANTINED.inc()
            log.warning(Event.PRICE_QUARANTINED, price=str(price.value), price_source=price.source)
        return is_admitted

    async def _evaluate(self, symbol: str, price: Price, heard: float | None = None) -> None:
        heard = time.perf_counter() if heard is None else heard
        if self._outage.is_on or self._blind.is_busy(symbol):
            await self._without_database(symbol, price)
            return
        try:
            # Behind a price that is being evaluated the next one waits: what it meets with is not known yet.
            if not self._locks[symbol].locked() and self._lookout.passes(symbol, price):
                EVALUATION_S.observe(time.perf_counter() - heard)
                return
            outcome = await self._alone(symbol, price)
            EVALUATION_S.observe(time.perf_counter() - heard)
            await self._carry_out(symbol, outcome, heard)
        except Unusable as error:
            log.warning(Event.PRICE_NOT_EVALUATED, reason=str(error))
        except DATABASE_ERRORS as error:
            log.warning(Event.PRICE_NOT_EVALUATED, reason=first_line(error))
            if await self._outage.has_begun():
                await self._without_database(symbol, price)
            else:
                self._lookout.later(symbol, price)

    # The database may come back while an exit is being sent: then nobody knows of that one yet.
    async def _without_database(self, symbol: str, price: Price) -> None:
        await self._blind.on_price(symbol, price)
        try:
            await self._outage.catch_up()
        except DATABASE_ERRORS as error:
            log.warning(Event.PRICE_NOT_EVALUATED, reason=first_line(error))

    async def _alone(self, symbol: str, price: Price | None) -> Sent | Wait | None:
        async with self._locks[symbol]:
            async with self._engine.begin() as connection:
                tracked = await exits.locked(connection, symbol)
                if tracked is None:
                    return None
                tracked, outcome = await self._decided(connection, tracked, price)
            self._lookout.stored(tracked)
        return outcome

    async def _decided(
        self, connection: AsyncConnection, stored: Tracked, price: Price | None
    ) -> tuple[Tracked, Sent | Wait | None]:
        verdicts: tuple[Verdict, ...] = ()
        tracked = self._blind.recalled(stored)
        if price is not None:
            tracked, verdicts, decision = self._lookout.step(tracked, price)
            if isinstance(decision, Exit):
                log_triggered(tracked, decision.verdict, price)
        outcome = None
        if self._policy.enabled or tracked.latched_rule == OPERATOR:
            outcome = await self._issued(connection, tracked, verdicts)
        if tracked != stored and not isinstance(outcome, Issued | Done):
            await exits.save(connection, tracked)
        self._blind.keep(tracked)
        return tracked, await self._noted(connection, tracked, outcome)

    async def _issued(
        self, connection: AsyncConnection, tracked: Tracked, verdicts: tuple[Verdict, ...]
    ) -> Issued | Wait | Done | None:
        if tracked.latched_rule is None:
            return None
        return await exits.issue(
            connection,
            self._outbox,
            tracked,
            rules=self._policy.rules_of(tracked.strategy_id, tracked.symbol),
            limits=self._policy.limits,
            verdicts=verdicts,
            now=_utcnow(),
        )

    async def _noted(
        self, connection: AsyncConnection, tracked: Tracked, outcome: Issued | Wait | Done | None
    ) -> Sent | Wait | None:
        if isinstance(outcome, Wait):
            await self._notes.held(connection, tracked, outcome.reason)
            return outcome
        if outcome is not None:
            self._notes.released(tracked)
        if not isinstance(outcome, Issued):
            return None
        if outcome.claim is None:
            log.warning(Event.EXIT_ALREADY_CLAIMED, signal_id=str(outcome.signal.signal_id))
            return None
        log_emitted(outcome.signal, outcome.issue, tracked)
        return Sent(tracked=tracked, claim=outcome.claim)

    async def _carry_out(self, symbol: str, outcome: Sent | Wait | None, heard: float | None = None) -> None:
        if isinstance(outcome, Wait) and outcome.reason is Hold.ENTRY_JUST_SENT and outcome.until:
            await asyncio.sleep(max(0.0, (outcome.until - _utcnow()).total_seconds()))
            outcome = await self._alone(symbol, None)
        if isinstance(outcome, Sent):
            # Before it is sent: should the database go now, nothing else says that it was.
            self._blind.note_exit(outcome.tracked, _utcnow())
            fate = await self._outbox.publish(outcome.claim)
            EXITS.labels(outcome.tracked.latched_rule, fate).inc()
            if fate is Fate.PUBLISHED:
                if heard is not None:
                    CONFIRM_S.observe(time.perf_counter() - heard)
                await self._charge(outcome)

    # A limit is charged by what the broker took, not by what was decided.
    async def _charge(self, sent: Sent) -> None:
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await exits.confirmed(connection, sent.tracked.lifecycle_id)
        except DATABASE_ERRORS as error:
            log.warning(Event.PRICE_NOT_EVALUATED, reason=first_line(error))

    # False: what ended is closed, and what began lacks its entry price.
    async def _apply(self, connection: AsyncConnection, tracked: Tracked | None, view: View) -> bool:
        lacks_entry = bool(view.size) and view.entry_price is None
        if tracked is not None:
            if is_outdated(tracked, view):
                return True
            if continues(tracked, view) and not await _was_reopened(connection, tracked, view):
                shown = resized(self._blind.recalled(tracked), view)
                await exits.save(connection, shown)
                self._blind.keep(shown)
                return True
            # What began at this instant is still to come: an end as late as that would refuse it.
            await self._close(connection, tracked, None if lacks_entry else view.seen_at)
        if lacks_entry:
            return False
        if view.size:
            begun = await positions.begin(connection, view)
            self._lookout.begun(view.symbol)
            if begun is not None:
                begun = await with_blind_exit(connection, begun)
                self._blind.keep(begun)
                log_opened(begun)
        return True

    async def _close(self, connection: AsyncConnection, tracked: Tracked, seen_at: datetime | None) -> None:
        await positions.end(connection, tracked, seen_at)
        await self._notes.closed(connection, tracked)
        self._lookout.ended(tracked.symbol)
        self._blind.forget(tracked)


async def _was_reopened(connection: AsyncConnection, tracked: Tracked, view: View) -> bool:
    if tracked.exit_signal_id is None:
        return False
    traffic = (await situation(connection, tracked.symbol)).traffic
    return was_reopened(tracked, view, traffic.newest_exit)


def _utcnow() -> datetime:
    return datetime.now(UTC)
