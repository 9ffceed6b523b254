"""A price's first look: at its position as this worker knows it, without asking the database.

Most prices change figures and nothing else. They are remembered, and stored in rounds: many positions in one
commit. What decides something, or must not be lost (`core.keeping`), is left to be evaluated with the row
locked; so is every first price of a position, and every price of one that is latched.

What peers change, this worker knows after its next sweep: until then it may overlook what they see.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from common import exits
from common.core.exits.position import Price, Tracked
from common.core.exits.step import Decision, Exit, Step, step
from common.database import DATABASE_ERRORS
from common.errors import first_line
from exit_strategy.blind_stop import BlindStop
from exit_strategy.core.keeping import may_wait
from exit_strategy.core.pacing import Window, waiting_rules, window_after
from exit_strategy.events import Event
from exit_strategy.metrics import DEBOUNCED, PRICES_USED
from exit_strategy.policy import Policy

log = structlog.get_logger(__name__)

STORED_EVERY_S = 1.0
"""Pause between two rounds of storing; figures of a row are no older."""
STORED_AT_ONCE = 20
"""Positions of one commit: their rows are locked for its time."""
COUNTED_FOR_S = 3.0
"""How long a symbol counts as flat after all open positions were read and it had none."""

Evaluate = Callable[[str, Price], Awaitable[None]]


class Lookout:
    """What one worker saw of open positions since their rows were stored, and its debounce windows.

    `evaluate` is called with what cannot wait for a price: the end of a window, and a rule that fires on a
    row which somebody else changed.
    """

    def __init__(self, policy: Policy, engine: AsyncEngine, known: BlindStop, evaluate: Evaluate) -> None:
        self._policy = policy
        self._engine = engine
        self._known = known
        self._evaluate = evaluate
        self._windows: dict[str, Window] = {}
        self._stored: dict[str, Tracked] = {}
        self._unstored: dict[str, Price] = {}
        self._counted_at = float("-inf")
        self._begun: dict[str, float] = {}
        self._storing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """No window is open and nothing is stored any more; the next price makes up for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def passes(self, symbol: str, price: Price) -> bool:
        """Whether `price` decides nothing and may be stored later; then it is remembered."""
        known = self._known.known(symbol)
        if known is None:
            return self._is_flat(symbol)
        stored = self._stored.get(symbol)
        if stored is None or stored.lifecycle_id != known.lifecycle_id or known.latched_rule is not None:
            return False
        now, before = _utcnow(), self._windows.get(symbol)
        seen, _, decision = self._step(known, price, now)
        if isinstance(decision, Exit) or not may_wait(stored, seen):
            return False
        self._follow(symbol, before, price, decision, now)
        if seen is not known:
            self._known.keep(seen)
            self.later(symbol, price)
        return True

    def later(self, symbol: str, price: Price) -> None:
        """`price` is evaluated on the row in the next round of storing, unless a newer one is."""
        self._unstored[symbol] = price
        if self._storing is None or self._storing.done():
            self._storing = self._start(self._store())

    def step(self, tracked: Tracked, price: Price) -> Step:
        """`tracked` after `price`, for a row that is locked: its rules wait for the symbol's window."""
        now, before = _utcnow(), self._windows.get(tracked.symbol)
        result = self._step(tracked, price, now)
        self._follow(tracked.symbol, before, price, result[2], now)
        return result

    def stored(self, tracked: Tracked) -> None:
        """The row shows `tracked`."""
        self._stored[tracked.symbol] = tracked

    def begun(self, symbol: str) -> None:
        """A position of `symbol` was opened: it is not flat, whatever was counted before."""
        self._begun[symbol] = _monotonic()

    def ended(self, symbol: str) -> None:
        """The position of `symbol` is closed, and its window with it."""
        self._windows.pop(symbol, None)
        self._stored.pop(symbol, None)
        self._unstored.pop(symbol, None)

    def counted(self, watched: set[str], asked_at: float) -> None:
        """All open positions are `watched`, as they were asked for at `asked_at`, by the loop's clock."""
        self._counted_at = asked_at
        self._begun = {symbol: at for symbol, at in self._begun.items() if at >= asked_at}
        for symbol in self._stored.keys() - watched - self._begun.keys():
            self.ended(symbol)

    def _is_flat(self, symbol: str) -> bool:
        return symbol not in self._begun and _monotonic() < self._counted_at + COUNTED_FOR_S

    def _step(self, tracked: Tracked, price: Price, now: datetime) -> Step:
        rules = self._policy.rules_of(tracked.strategy_id, tracked.symbol)
        waiting = waiting_rules(self._windows.get(tracked.symbol), now, self._policy.debounce)
        return step(tracked, price, rules, now, self._policy.price_max_age, waiting=waiting)

    def _follow(
        self, symbol: str, before: Window | None, price: Price, decision: Decision, now: datetime
    ) -> None:
        PRICES_USED.labels(price.source).inc()
        window = window_after(before, price, decision, now, self._policy.debounce)
        if window is None or isinstance(decision, Exit):
            self._windows.pop(symbol, None)
            return
        self._windows[symbol] = window
        if before is None:
            self._start(self._end(symbol, window.ends_at))
        elif window.newest != before.newest:
            DEBOUNCED.inc()

    # A timer may be early by the clock that windows are measured with.
    async def _end(self, symbol: str, ends_at: datetime) -> None:
        await asyncio.sleep((ends_at - _utcnow()).total_seconds())
        window = self._windows.get(symbol)
        if window is None or window.ends_at != ends_at:
            return
        if _utcnow() < ends_at:
            await self._end(symbol, ends_at)
        else:
            await self._evaluate(symbol, window.newest)

    async def _store(self) -> None:
        while self._unstored:
            await asyncio.sleep(STORED_EVERY_S)
            symbols = sorted(self._unstored)
            try:
                for first in range(0, len(symbols), STORED_AT_ONCE):
                    await self._store_batch(symbols[first : first + STORED_AT_ONCE])
            except DATABASE_ERRORS as error:  # what is left is stored in the next round
                log.warning(Event.PRICE_NOT_EVALUATED, reason=first_line(error))

    # A row that somebody else holds is stored by them, or after the next price.
    async def _store_batch(self, symbols: Sequence[str]) -> None:
        prices = {symbol: self._unstored[symbol] for symbol in symbols if symbol in self._unstored}
        now, moved, firing = _utcnow(), [], []
        async with self._engine.begin() as connection:
            for row in await exits.locked_of(connection, list(prices)):
                seen, _, decision = self._step(self._known.recalled(row), prices[row.symbol], now)
                if isinstance(decision, Exit):
                    self._known.keep(self._known.recalled(row))
                    firing.append(row.symbol)
                elif seen != row:
                    moved.append(seen)
            if moved:
                await exits.save(connection, *moved)
        for tracked in moved:
            self._known.keep(self._known.recalled(tracked))
            self.stored(tracked)
        for symbol, price in prices.items():
            if self._unstored.get(symbol) is price:
                del self._unstored[symbol]
        for symbol in firing:
            await self._evaluate(symbol, prices[symbol])

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


def _utcnow() -> datetime:
    return datetime.now(UTC)
