"""What no message would start: silent prices, unanswered exits, positions that differ from the platform's."""

import asyncio
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from common.core.exits.position import Tracked
from common.errors import FleetError
from common.position_manager import PositionManager
from exit_strategy import positions
from exit_strategy.events import Event
from exit_strategy.metrics import BLIND_POSITIONS, COVERAGE_S, OPEN_POSITIONS
from exit_strategy.prices import AskedPrices
from exit_strategy.worker import Worker, view_of

log = structlog.get_logger(__name__)

PRICE_SILENCE = timedelta(seconds=5)
"""Without a price for so long, one is asked for."""
START_RETRY_S = 1.0
"""Pause between attempts to reconcile at start."""


class Sweep:
    """The rounds of one exit worker, and what they found; every worker makes them, their effects coincide."""

    def __init__(
        self,
        worker: Worker,
        engine: AsyncEngine,
        manager: PositionManager,
        prices: AskedPrices,
        *,
        silence: timedelta,
    ) -> None:
        self.reconciled = asyncio.Event()
        """Positions were compared with the platform's once, or it did not answer when asked."""
        self._worker = worker
        self._engine = engine
        self._manager = manager
        self._prices = prices
        self._silence = silence
        self._blind: frozenset[str] = frozenset()
        self._unread: str | None = "not compared with the Position Manager yet"

    async def follow_exits(self) -> None:
        """Every latched position was read anew and may have sent its next exit."""
        latched = [tracked for tracked in await self._open() if tracked.latched_rule is not None]
        await _each(self._follow(tracked) for tracked in latched)

    async def watch_silence(self) -> None:
        """Every position without a price for PRICE_SILENCE was evaluated with one that was asked for."""
        now = _utcnow()
        watched = await self._open()
        silent = [tracked for tracked in watched if _evaluated_at(tracked) < now - PRICE_SILENCE]
        self._prices.keep({tracked.symbol for tracked in silent})
        await _each(self._ask(tracked, now) for tracked in silent)
        self._report(await self._open() if watched else watched)

    async def start(self) -> None:
        """Positions were reconciled, or the Position Manager does not answer: then what is known counts."""
        while not self.reconciled.is_set():
            try:
                await self.reconcile()
            except Exception as error:  # noqa: BLE001 - the outermost shell: without it no position is watched
                log.warning(Event.POSITION_NOT_APPLIED, reason=f"{type(error).__name__}: {error}")
                await asyncio.sleep(START_RETRY_S)
            else:
                self.reconciled.set()

    async def reconcile(self) -> None:
        """Every open position is watched with its size and entry, and no other is."""
        watched = await self._open()  # before asking: what changes meanwhile is not judged by an older list
        try:
            listed = await self._manager.positions()
        except FleetError as error:
            self._unread = str(error)
            log.warning(Event.POSITION_NOT_READ, reason=self._unread)
            return
        symbols = {position.symbol for position in listed}
        await _each(self._worker.on_view(view_of(position)) for position in listed)
        await _each(self._worker.on_gone(tracked) for tracked in watched if tracked.symbol not in symbols)
        if self._unread is not None:
            log.info(Event.RECONCILED, positions=len(listed))
        self._unread = None

    async def coverage(self) -> str | None:
        """Which positions no price rule can close at this moment."""
        return f"no usable price: {', '.join(sorted(self._blind))}" if self._blind else None

    async def agreement(self) -> str | None:
        """Why watched positions may differ from the Position Manager's."""
        return self._unread

    async def _open(self) -> list[Tracked]:
        async with self._engine.connect() as connection:
            return list(await positions.all_open(connection))

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

    async def _ask(self, tracked: Tracked, now: datetime) -> None:
        price = await self._prices.latest(tracked.symbol, now)
        await self._worker.on_price(tracked.symbol, price)

    def _report(self, watched: list[Tracked]) -> None:
        now = _utcnow()
        ages = {tracked.symbol: now - _evaluated_at(tracked) for tracked in watched}
        blind = frozenset(symbol for symbol, age in ages.items() if age > self._silence)
        for symbol in blind - self._blind:
            log.error(Event.POSITION_BLIND, symbol=symbol, blind_s=ages[symbol].total_seconds())
        for symbol in (self._blind - blind) & ages.keys():
            log.info(Event.POSITION_SEEN_AGAIN, symbol=symbol)
        self._blind = blind
        OPEN_POSITIONS.set(len(watched))
        BLIND_POSITIONS.set(len(blind))
        COVERAGE_S.set(max((age.total_seconds() for age in ages.values()), default=0.0))


# An update of the position says nothing about its price.
def _evaluated_at(tracked: Tracked) -> datetime:
    return tracked.last_evaluated_at or tracked.opened_at


# One position's trouble is not the others'.
async def _each(work: Iterable[Coroutine[object, object, None]]) -> None:
    for failed in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(failed, Exception):
            log.warning(Event.POSITION_NOT_APPLIED, reason=f"{type(failed).__name__}: {failed}")


def _utcnow() -> datetime:
    return datetime.now(UTC)
