"""What no message would start: silent prices, unanswered exits, positions that differ from the platform's."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import structlog
from faststream.rabbit import RabbitBroker
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common import bus, topology
from common.alerts import raise_alert, resolve_alert
from common.core.exits.dispatch import Instrument
from common.core.exits.holds import Hold
from common.core.exits.position import Price, Tracked, View, continues, resized
from common.core.exits.rules import PRIORITY
from common.core.trading_state import EXITS, TradingState
from common.database import DATABASE_ERRORS
from common.errors import FleetError
from common.exit_traffic import instruments
from common.messages import PositionChanged
from common.position_manager import Position, PositionManager
from common.trading_states import stored_states
from exit_strategy import failed_updates, positions
from exit_strategy.blind_stop import BlindStop, view_of
from exit_strategy.core.price_choice import PRICE_SEEN, choose
from exit_strategy.events import Event
from exit_strategy.failed_updates import Heard
from exit_strategy.metrics import (
    BLIND_POSITIONS,
    COVERAGE_S,
    DIVERGENCES,
    FAILED_UPDATES,
    OPEN_POSITIONS,
    REFUSED_POSITIONS,
    UNANSWERED_S,
)
from exit_strategy.notes import ALERTS
from exit_strategy.outage import Outage
from exit_strategy.prices import AskedPrices
from exit_strategy.worker import Worker

log = structlog.get_logger(__name__)

PRICE_SILENCE = timedelta(seconds=5)
"""Without a price for so long, one is asked for."""
SIDE_BY_SIDE = 4
"""Positions that one round looks at together: the pool has connections left for prices."""
START_RETRY_S = 1.0
"""Pause between attempts to reconcile at start."""

BLIND = "position_blind"
MANAGER_SILENT = "position_manager_silent"
"""Kinds of alerts."""

_REFUSED = ALERTS[Hold.EXITS_REFUSED_REPEATEDLY]
_NOTHING = Decimal(0)

T = TypeVar("T")


class Sweep:
    """The rounds of one exit worker, and what they found; every worker makes them, their effects coincide."""

    def __init__(
        self,
        worker: Worker,
        engine: AsyncEngine,
        broker: RabbitBroker,
        manager: PositionManager,
        *,
        prices: AskedPrices,
        outage: Outage,
        blind: BlindStop,
        silence: timedelta,
    ) -> None:
        self.reconciled = asyncio.Event()
        """Positions were compared with the platform's once, or it did not answer when asked."""
        self.watching = asyncio.Event()
        """What is open is known, be it from the Position Manager alone: prices can be evaluated."""
        self._worker = worker
        self._engine = engine
        self._broker = broker
        self._manager = manager
        self._prices = prices
        self._outage = outage
        self._blind_stop = blind
        self._silence = silence
        self._blind: dict[str, float] = {}
        self._refused: frozenset[str] = frozenset()
        self._covered: frozenset[str] = frozenset()
        self._unread: str | None = "not compared with the Position Manager yet"

    async def follow_exits(self) -> None:
        """Every latched position was read anew and may have sent its next exit; asked-for closes latched."""
        closing = await self._read(positions.being_closed)
        asked = [each for each in closing if each.latched_rule is None]
        await _each(self._worker.on_request(tracked.symbol) for tracked in asked)
        await _each(self._follow(tracked) for tracked in closing if tracked.latched_rule is not None)

    async def watch_silence(self) -> None:
        """Every position without a price for PRICE_SILENCE was evaluated with one that was asked for."""
        now = _utcnow()
        try:
            watched = await self._open()
        except DATABASE_ERRORS:
            await self._watch_silence_blind(now)
            raise
        silent = [tracked for tracked in watched if _evaluated_at(tracked) < now - PRICE_SILENCE]
        self._prices.keep({tracked.symbol for tracked in silent})
        await _each(self._ask(tracked.symbol, now) for tracked in silent)
        await self._report([self._blind_stop.recalled(tracked) for tracked in watched])

    async def start(self) -> None:
        """Positions were reconciled, or the Position Manager does not answer: then what is known counts.

        While the database does not answer, the stop loss runs on what the Position Manager shows.
        """
        await self._blind_stop.recall_spool()
        while not self.reconciled.is_set():
            try:
                await self.reconcile()
            except Exception as error:  # noqa: BLE001 - the outermost shell: without it no position is watched
                log.warning(Event.POSITION_NOT_APPLIED, reason=f"{type(error).__name__}: {error}")
                if self._outage.is_on:
                    self.watching.set()
                await asyncio.sleep(START_RETRY_S)
            else:
                self.reconciled.set()
                self.watching.set()

    async def reconcile(self) -> None:
        """Every open position is watched with its size and entry, and no other is."""
        try:
            # Before asking: what changes meanwhile is not judged by an older list.
            watched = await self._open()
        except DATABASE_ERRORS:
            if self._outage.is_on:
                self._blind_stop.adopt(await self._manager.positions())
            raise
        try:
            listed = await self._manager.positions()
        except FleetError as error:
            self._unread = str(error)
            log.warning(Event.POSITION_NOT_READ, reason=self._unread)
            await self._tell_silence(watched)
            return
        symbols = {position.symbol for position in listed}
        self._compare(watched, listed)
        known = {tracked.symbol: tracked for tracked in watched}
        views = [view_of(position) for position in listed]
        await _each(self._worker.on_view(view) for view in views if _is_news(known.get(view.symbol), view))
        await _each(self._worker.on_gone(tracked) for tracked in watched if tracked.symbol not in symbols)
        if self._unread is not None:
            log.info(Event.RECONCILED, positions=len(listed))
            async with self._engine.begin() as connection:
                await resolve_alert(connection, MANAGER_SILENT, "fleet")
        self._unread = None

    async def make_up_for(self, heard: Heard, reason: str) -> None:
        """An update that could not be used is kept whole, and its position was read and evaluated anew.

        Raises TryAgain while the database cannot keep it.
        """
        FAILED_UPDATES.inc()
        log.warning(Event.UPDATE_NOT_USABLE, symbol=heard.symbol, reason=reason)
        if heard.symbol is not None:
            try:
                await self._look_anew(heard.symbol)
            except Exception as error:  # noqa: BLE001 - the update is kept, whatever else is wrong
                log.warning(
                    Event.POSITION_NOT_READ, symbol=heard.symbol, reason=f"{type(error).__name__}: {error}"
                )
        await failed_updates.store(self._engine, heard, reason)

    async def coverage(self) -> str | None:
        """Which positions no price rule can close at this moment, and for how long; why is in the alert."""
        if not self._blind:
            return None
        blind = ", ".join(f"{symbol} for {blind_s:.0f} s" for symbol, blind_s in sorted(self._blind.items()))
        return f"no usable price: {blind}"

    async def agreement(self) -> str | None:
        """Why watched positions may differ from the Position Manager's."""
        return self._unread

    async def stops(self) -> str | None:
        """Why only stops run."""
        return self._outage.trouble()

    async def unready(self) -> str | None:
        """Why this worker does not watch positions yet."""
        return None if self.reconciled.is_set() else "positions are not reconciled yet"

    # What is open, and with it all that a worker needs to know should the database go now.
    async def _open(self) -> list[Tracked]:
        asked_at = asyncio.get_running_loop().time()
        stored, steps, states = await self._read(_everything)
        watched = [self._blind_stop.recalled(tracked) for tracked in stored]
        self._blind_stop.remember(watched, steps, is_halted=states.get(EXITS) is TradingState.HALTED)
        self._worker.forget({tracked.symbol for tracked in watched}, asked_at)
        return watched

    async def _read(self, question: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        if not await self._outage.has_ended():
            raise ConnectionError("the database does not answer")
        try:
            async with self._engine.connect() as connection:
                return await question(connection)
        except DATABASE_ERRORS:
            await self._outage.has_begun()
            raise

    async def _follow(self, tracked: Tracked) -> None:
        try:
            position = await self._manager.position(tracked.symbol)
        except FleetError as error:
            log.warning(Event.POSITION_NOT_READ, symbol=tracked.symbol, reason=str(error))
            await self._worker.advance(tracked.symbol)
        else:
            if position is None:
                await self._worker.on_gone(tracked)
            else:
                await self._worker.on_view(view_of(position))

    async def _look_anew(self, symbol: str) -> None:
        position, now = await self._manager.position(symbol), _utcnow()
        if position is None:
            view = View(symbol=symbol, size=_NOTHING, entry_price=None, seen_at=now)
        else:
            view = view_of(position)
        changed = PositionChanged(symbol=symbol, size=view.size, timestamp=view.seen_at)
        await bus.announce(self._broker, topology.POSITION_CHANGED, changed)
        await self.reconciled.wait()
        await self._worker.on_view(view)
        await self._ask(symbol, now)

    async def _ask(self, symbol: str, now: datetime) -> None:
        await self._worker.on_price(symbol, await self._prices.latest(symbol, now))

    async def _watch_silence_blind(self, now: datetime) -> None:
        if self._outage.is_on:
            silent = self._blind_stop.symbols(silent_since=now - PRICE_SILENCE)
            await _each(self._ask(symbol, now) for symbol in silent)

    # Two sources that are both fresh should say the same.
    def _compare(self, watched: Iterable[Tracked], listed: Iterable[Position]) -> None:
        now, known = _utcnow(), {tracked.symbol: tracked for tracked in watched}
        for position in listed:
            tracked = known.get(position.symbol)
            if tracked is None or tracked.size != position.size:
                DIVERGENCES.labels("size").inc()
            booked = self._prices.booked(position, now)
            if tracked is None or booked is None or tracked.last_evaluated_at is None:
                continue
            seen = Price(
                value=tracked.last_price,
                seen_at=tracked.last_evaluated_at,
                source=tracked.price_source or PRICE_SEEN,
            )
            choice = choose([seen, booked], now, PRICE_SILENCE)
            if choice is not None and choice.disagrees is not None:
                DIVERGENCES.labels("price").inc()
                log.warning(
                    Event.PRICES_DISAGREE,
                    symbol=position.symbol,
                    price=str(choice.price.value),
                    price_source=choice.price.source,
                    other=str(choice.disagrees.value),
                    other_source=choice.disagrees.source,
                    difference_pct=float(round(choice.difference_pct, 3)),
                )

    async def _report(self, watched: list[Tracked]) -> None:
        now = _utcnow()
        ages = {tracked.symbol: (now - _evaluated_at(tracked)).total_seconds() for tracked in watched}
        blind = {symbol: age for symbol, age in ages.items() if age > self._silence.total_seconds()}
        refused = frozenset(tracked.symbol for tracked in watched if self._worker.is_refused(tracked))
        OPEN_POSITIONS.set(len(watched))
        BLIND_POSITIONS.set(len(blind))
        REFUSED_POSITIONS.set(len(refused))
        _show_unanswered(watched, now)
        for symbol, age in ages.items():
            COVERAGE_S.labels(symbol).set(age)
        for symbol in self._covered - ages.keys():
            COVERAGE_S.remove(symbol)
        over = self._blind.keys() - blind.keys()
        for symbol in over & ages.keys():
            log.info(Event.POSITION_SEEN_AGAIN, symbol=symbol)
        new, accepted = blind.keys() - self._blind.keys(), self._refused - refused
        self._covered, self._blind, self._refused = frozenset(ages), blind, refused
        if blind or over or accepted:
            async with self._engine.begin() as connection:
                await self._alarm(connection, blind, new)
                for symbol in over:
                    await resolve_alert(connection, BLIND, f"symbol:{symbol}")
                for symbol in accepted:
                    await resolve_alert(connection, _REFUSED, f"symbol:{symbol}")

    async def _alarm(self, connection: AsyncConnection, blind: dict[str, float], new: Iterable[str]) -> None:
        if not blind:
            return
        build = await positions.dataset_build(connection)
        for symbol, blind_s in blind.items():
            cause = self._prices.cause(symbol)
            if build is not None:
                cause += f"; the Feature Service answers nothing while it builds the dataset of run {build}"
            if symbol in new:
                log.error(Event.POSITION_BLIND, symbol=symbol, blind_s=round(blind_s, 1), reason=cause)
            await raise_alert(
                connection,
                BLIND,
                f"symbol:{symbol}",
                f"{symbol} had no usable price for {blind_s:.0f} s: {cause}",
                severity="critical",
                figures={"blind_s": round(blind_s, 1)},
            )

    async def _tell_silence(self, watched: list[Tracked]) -> None:
        if not watched:
            return
        async with self._engine.begin() as connection:
            await raise_alert(
                connection,
                MANAGER_SILENT,
                "fleet",
                f"{len(watched)} open positions go on with their last known size and entry: {self._unread}",
                severity="critical",
            )


async def _everything(
    connection: AsyncConnection,
) -> tuple[list[Tracked], dict[str, Instrument], dict[str, TradingState]]:
    watched = await positions.all_open(connection)
    # Steps matter for parts of a position; before the first one the platform may lack the table.
    steps = await instruments(connection) if watched else {}
    return watched, steps, await stored_states(connection)


def _show_unanswered(watched: Iterable[Tracked], now: datetime) -> None:
    longest = dict.fromkeys(PRIORITY, 0.0)
    for tracked in watched:
        if tracked.latched_rule in longest and tracked.latched_at is not None:
            waited_s = (now - tracked.latched_at).total_seconds()
            longest[tracked.latched_rule] = max(waited_s, longest[tracked.latched_rule])
    for rule, waited_s in longest.items():
        UNANSWERED_S.labels(rule).set(waited_s)


# What was applied already is applied again only to a position that is being closed.
def _is_news(known: Tracked | None, view: View) -> bool:
    if known is None or known.latched_rule is not None or not continues(known, view):
        return True
    return resized(known, view) != known


# An update of the position says nothing about its price.
def _evaluated_at(tracked: Tracked) -> datetime:
    return tracked.last_evaluated_at or tracked.opened_at


# One position's trouble is not the others'; and prices find a connection while many positions are looked at.
async def _each(work: Iterable[Coroutine[object, object, None]]) -> None:
    free = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(coroutine: Coroutine[object, object, None]) -> None:
        async with free:
            await coroutine

    for failed in await asyncio.gather(*map(one, work), return_exceptions=True):
        if isinstance(failed, Exception):
            log.warning(Event.POSITION_NOT_APPLIED, reason=f"{type(failed).__name__}: {failed}")


def _utcnow() -> datetime:
    return datetime.now(UTC)
