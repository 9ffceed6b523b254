"""A price's way to an exit: believe it, lock the lifecycle, step, dispatch, claim, commit, publish.

No HTTP and no publish happens while a row is locked. State and intent are one commit: a crash leaves either
nothing or an intent that ends with its validity. While the database does not answer, the stop loss goes
another way (`blind_stop`).
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common import exits, tracing
from common.alerts import raise_alert, resolve_alert
from common.core.exits.dispatch import Done, Issue, Limits, Wait, was_reopened
from common.core.exits.holds import Hold
from common.core.exits.position import Price, Tracked, Verdict, View, continues, is_outdated, resized
from common.core.exits.rules import OPERATOR, Rules
from common.core.exits.step import Decision, Exit, step
from common.database import DATABASE_ERRORS
from common.errors import FleetError, TryAgain, Unusable
from common.messages import PositionUpdated, TradingSignal
from common.position_manager import PositionManager
from common.signal_outbox import Claim, Fate, SignalOutbox
from exit_strategy import positions
from exit_strategy.blind_stop import BlindStop, view_of
from exit_strategy.core.pacing import Window, waiting_rules, window_after
from exit_strategy.core.quarantine import Recent, admitted
from exit_strategy.events import Event
from exit_strategy.metrics import (
    CONFIRM_S,
    DEBOUNCED,
    EVALUATION_S,
    EXITS,
    PRICES_USED,
    QUARANTINED,
    RATE_LIMITED,
    REISSUES,
    TRIGGERS,
    VIEWS_LATE,
)
from exit_strategy.outage import Outage
from exit_strategy.prices import AskedPrices

log = structlog.get_logger(__name__)

ALERTS = {
    Hold.POSITION_VIEW_LATE: "position_view_late",
    Hold.EXITS_REFUSED_REPEATEDLY: "exits_refused",
    Hold.NOTHING_BOOKED: "nothing_booked",
}
"""Why an exit waits that somebody has to look at, and the kind of alert that says so."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator configured for exits."""

    enabled: bool
    rules_of: Callable[[str, str], Rules]
    """Of the strategy and symbol of a lifecycle."""
    limits: Limits
    price_max_age: timedelta
    debounce: timedelta = timedelta(0)
    """How long a target or an age waits for a newer price."""
    price_deviations: Decimal = Decimal(8)
    """A price further from the recent ones waits for a second one."""


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
        self._held: dict[UUID, Hold] = {}
        self._recent: dict[str, Recent] = {}
        self._windows: dict[str, Window] = {}
        self._ends: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """No debounce window is open any more; what they waited for is seen again by the next price."""
        for end in self._ends:
            end.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)

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
            await self._evaluate(symbol, nothing, time.perf_counter())

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
            closed = msgspec.structs.replace(told, size=Decimal(0))
            await self.on_view(closed if position is None else view_of(position))

    async def on_view(self, view: View) -> None:
        """The lifecycle of the symbol is as `view` shows it, and a latched exit goes on with it.

        Raises TryAgain where the database does not answer, or a new position has no entry price yet.
        """
        with tracing.bound(tracing.current(), symbol=view.symbol):
            try:
                async with self._locks[view.symbol], self._engine.begin() as connection:
                    is_applied = await self._apply(connection, view)
                if is_applied:
                    await self.advance(view.symbol)
            except DATABASE_ERRORS as error:
                self._blind.saw(view)
                raise TryAgain(f"database: {_first_line(error)}") from error
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

    async def advance(self, symbol: str) -> None:
        """What a latched rule of `symbol` may send now is sent."""
        await self._carry_out(symbol, await self._alone(symbol, None))

    def forget(self, watched: set[str]) -> None:
        """Of symbols without a position nothing is remembered."""
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

    async def _evaluate(self, symbol: str, price: Price, heard: float) -> None:
        if self._outage.is_on:
            await self._blind.on_price(symbol, price)
            return
        try:
            outcome = await self._alone(symbol, price)
            EVALUATION_S.observe(time.perf_counter() - heard)
            await self._carry_out(symbol, outcome, heard)
        except Unusable as error:
            log.warning(Event.PRICE_NOT_EVALUATED, reason=str(error))
        except DATABASE_ERRORS as error:
            log.warning(Event.PRICE_NOT_EVALUATED, reason=_first_line(error))
            if await self._outage.has_begun():
                await self._blind.on_price(symbol, price)

    async def _alone(self, symbol: str, price: Price | None) -> Sent | Wait | None:
        async with self._locks[symbol], self._engine.begin() as connection:
            tracked = await exits.locked(connection, symbol)
            if tracked is None:
                return None
            return await self._decided(connection, tracked, price)

    async def _decided(
        self, connection: AsyncConnection, tracked: Tracked, price: Price | None
    ) -> Sent | Wait | None:
        verdicts: tuple[Verdict, ...] = ()
        before, tracked = tracked, self._blind.recalled(tracked)
        if price is not None:
            tracked, verdicts, decision = self._stepped(tracked, price)
            if isinstance(decision, Exit):
                _log_triggered(tracked, decision.verdict, price)
        if tracked != before:
            await exits.save(connection, tracked)
        self._blind.keep(tracked)
        if tracked.latched_rule is None or not (self._policy.enabled or tracked.latched_rule == OPERATOR):
            return None
        return await self._dispatched(connection, tracked, verdicts)

    def _stepped(self, tracked: Tracked, price: Price) -> tuple[Tracked, tuple[Verdict, ...], Decision]:
        symbol, now = tracked.symbol, _utcnow()
        rules = self._policy.rules_of(tracked.strategy_id, symbol)
        before = self._windows.get(symbol)
        waiting = waiting_rules(before, now, self._policy.debounce)
        moved, verdicts, decision = step(
            tracked, price, rules, now, self._policy.price_max_age, waiting=waiting
        )
        PRICES_USED.labels(price.source).inc()
        window = window_after(before, price, decision, now, self._policy.debounce)
        if window is None or isinstance(decision, Exit):
            self._windows.pop(symbol, None)
        else:
            self._windows[symbol] = window
            if before is None:
                self._end_later(symbol, window)
            elif window.newest != before.newest:
                DEBOUNCED.inc()
        return moved, verdicts, decision

    def _end_later(self, symbol: str, window: Window) -> None:
        end = asyncio.create_task(self._end(symbol, window.ends_at))
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)

    async def _end(self, symbol: str, ends_at: datetime) -> None:
        await asyncio.sleep((ends_at - _utcnow()).total_seconds())
        window = self._windows.get(symbol)
        if window is not None and window.ends_at == ends_at:
            await self._evaluate(symbol, window.newest, time.perf_counter())

    async def _dispatched(
        self, connection: AsyncConnection, tracked: Tracked, verdicts: tuple[Verdict, ...]
    ) -> Sent | Wait | None:
        outcome = await exits.issue(
            connection,
            self._outbox,
            tracked,
            rules=self._policy.rules_of(tracked.strategy_id, tracked.symbol),
            limits=self._policy.limits,
            verdicts=verdicts,
            now=_utcnow(),
        )
        if isinstance(outcome, Wait):
            await self._note(connection, tracked, outcome.reason)
            return outcome
        self._held.pop(tracked.lifecycle_id, None)
        if isinstance(outcome, Done):
            return None
        if outcome.claim is None:
            log.warning(Event.EXIT_ALREADY_CLAIMED, signal_id=str(outcome.signal.signal_id))
            return None
        _log_emitted(outcome.signal, outcome.issue, tracked)
        if outcome.issue.generation > 1:
            REISSUES.labels(outcome.issue.rule).inc()
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
            async with self._engine.begin() as connection:
                await exits.confirmed(connection, sent.tracked.lifecycle_id)
        except DATABASE_ERRORS as error:
            log.warning(Event.PRICE_NOT_EVALUATED, reason=_first_line(error))

    # False: what ended is closed, and what began lacks its entry price.
    async def _apply(self, connection: AsyncConnection, view: View) -> bool:
        tracked = await exits.locked(connection, view.symbol)
        lacks_entry = bool(view.size) and view.entry_price is None
        if tracked is not None:
            if is_outdated(tracked, view):
                return True
            if continues(tracked, view) and not await _was_reopened(connection, tracked, view):
                await exits.save(connection, resized(tracked, view))
                return True
            # What began at this instant is still to come: an end as late as that would refuse it.
            await self._close(connection, tracked, None if lacks_entry else view.seen_at)
        if lacks_entry:
            return False
        if view.size:
            begun = await positions.begin(connection, view)
            if begun is not None:
                _log_opened(begun)
        return True

    async def _close(self, connection: AsyncConnection, tracked: Tracked, seen_at: datetime | None) -> None:
        await positions.end(connection, tracked, seen_at)
        for kind in ALERTS.values():
            await resolve_alert(connection, kind, f"symbol:{tracked.symbol}")
        self._held.pop(tracked.lifecycle_id, None)
        self._windows.pop(tracked.symbol, None)
        self._blind.forget(tracked)
        log.info(
            Event.LIFECYCLE_CLOSED,
            lifecycle_id=str(tracked.lifecycle_id),
            strategy_id=tracked.strategy_id,
            rule=tracked.latched_rule,
        )

    # Said once per change: the sweep looks every second.
    async def _note(self, connection: AsyncConnection, tracked: Tracked, reason: Hold) -> None:
        if self._held.get(tracked.lifecycle_id) is reason:
            return
        self._held[tracked.lifecycle_id] = reason
        facts = {
            "lifecycle_id": str(tracked.lifecycle_id),
            "rule": tracked.latched_rule,
            "signal_id": str(tracked.exit_signal_id),
            "size": str(tracked.size),
        }
        if reason in (Hold.RATE_LIMITED, Hold.COOLING_DOWN):
            RATE_LIMITED.labels(reason).inc()
        if reason not in ALERTS:
            log.info(Event.EXIT_HELD, reason=reason, **facts)
            return
        if reason is Hold.POSITION_VIEW_LATE:
            VIEWS_LATE.inc()
        log.error(_SAID[reason], reason=reason, **facts)
        await raise_alert(
            connection,
            ALERTS[reason],
            f"symbol:{tracked.symbol}",
            f"{tracked.symbol}: {reason.meaning}",
            severity="critical",
            figures={**facts, "refusals": tracked.refusals},
        )


_SAID = {
    Hold.POSITION_VIEW_LATE: Event.POSITION_VIEW_LATE,
    Hold.EXITS_REFUSED_REPEATEDLY: Event.EXIT_REFUSED_AGAIN,
    Hold.NOTHING_BOOKED: Event.EXIT_HELD,
}


async def _was_reopened(connection: AsyncConnection, tracked: Tracked, view: View) -> bool:
    if tracked.exit_signal_id is None:
        return False
    return was_reopened(tracked, view, (await exits.traffic(connection, tracked.symbol)).newest_exit)


def _log_opened(tracked: Tracked) -> None:
    log.info(
        Event.LIFECYCLE_OPENED,
        lifecycle_id=str(tracked.lifecycle_id),
        strategy_id=tracked.strategy_id,
        side=tracked.side,
        size=str(tracked.size),
        entry_price=str(tracked.entry_price),
        opened_at=tracked.opened_at.isoformat(),
    )


def _log_triggered(tracked: Tracked, verdict: Verdict, price: Price) -> None:
    TRIGGERS.labels(verdict.rule).inc()
    log.info(
        Event.EXIT_TRIGGERED,
        lifecycle_id=str(tracked.lifecycle_id),
        rule=verdict.rule,
        price=str(price.value),
        price_source=price.source,
        level=str(verdict.level),
        pnl_pct=str(verdict.pnl_pct),
    )


def _log_emitted(signal: TradingSignal, issue: Issue, tracked: Tracked) -> None:
    log.info(
        Event.EXIT_EMITTED,
        signal_id=str(signal.signal_id),
        lifecycle_id=str(tracked.lifecycle_id),
        strategy_id=tracked.strategy_id,
        rule=issue.rule,
        side=signal.signal_type,
        amount=signal.amount,
        size=str(issue.size),
        generation=issue.generation,
    )


def _utcnow() -> datetime:
    return datetime.now(UTC)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
