"""A price's way to an exit: lock the lifecycle, step, dispatch, claim, commit, publish.

No HTTP and no publish happens while a row is locked. State and intent are one commit: a crash leaves either
nothing or an intent that the relay publishes.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common import exits, tracing
from common.core.exits.dispatch import Done, Issue, Limits, Wait, was_reopened
from common.core.exits.holds import Hold
from common.core.exits.position import Price, Tracked, View, continues, is_outdated, resized
from common.core.exits.rules import Rules, Verdict
from common.core.exits.step import Exit, step
from common.errors import FleetError, TryAgain, Unusable
from common.messages import PositionUpdated, TradingSignal
from common.position_manager import Position, PositionManager
from common.signal_outbox import Claim, SignalOutbox
from exit_strategy import positions
from exit_strategy.events import Event
from exit_strategy.metrics import EXITS, TRIGGERS, VIEWS_LATE

log = structlog.get_logger(__name__)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator configured for exits."""

    enabled: bool
    rules_of: Callable[[str, str], Rules]
    """Of the strategy and symbol of a lifecycle."""
    limits: Limits
    price_max_age: timedelta


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """An exit that stands in the outbox and may be published."""

    rule: str
    claim: Claim


class Worker:
    """Watches positions beside its peers; one symbol at a time, different symbols side by side."""

    def __init__(
        self, policy: Policy, engine: AsyncEngine, outbox: SignalOutbox, manager: PositionManager
    ) -> None:
        self._policy = policy
        self._engine = engine
        self._outbox = outbox
        self._manager = manager
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._held: dict[UUID, Hold] = {}

    async def on_price(self, symbol: str, price: Price) -> None:
        """The open position of `symbol`, if any, was evaluated at `price`, and its exit is on its way."""
        with tracing.bound(tracing.current(), symbol=symbol):
            try:
                await self._carry_out(symbol, await self._alone(symbol, price))
            except (SQLAlchemyError, OSError, TimeoutError, Unusable) as error:
                log.warning(Event.PRICE_NOT_EVALUATED, reason=str(error).splitlines()[0])

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
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                raise TryAgain(f"database: {str(error).splitlines()[0]}") from error
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
        if price is not None:
            before, rules = tracked, self._policy.rules_of(tracked.strategy_id, tracked.symbol)
            tracked, verdicts, decision = step(before, price, rules, _utcnow(), self._policy.price_max_age)
            if tracked != before:
                await exits.save(connection, tracked)
            if isinstance(decision, Exit):
                _log_triggered(tracked, decision.verdict, price)
        if tracked.latched_rule is None or not self._policy.enabled:
            return None
        return await self._dispatched(connection, tracked, verdicts)

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
            self._note(tracked, outcome.reason)
            return outcome
        self._held.pop(tracked.lifecycle_id, None)
        if isinstance(outcome, Done):
            return None
        if outcome.claim is None:
            log.warning(Event.EXIT_ALREADY_CLAIMED, signal_id=str(outcome.signal.signal_id))
            return None
        _log_emitted(outcome.signal, outcome.issue, tracked)
        return Sent(rule=outcome.issue.rule, claim=outcome.claim)

    async def _carry_out(self, symbol: str, outcome: Sent | Wait | None) -> None:
        if isinstance(outcome, Wait) and outcome.reason is Hold.ENTRY_JUST_SENT and outcome.until:
            await asyncio.sleep(max(0.0, (outcome.until - _utcnow()).total_seconds()))
            outcome = await self._alone(symbol, None)
        if isinstance(outcome, Sent):
            fate = await self._outbox.publish(outcome.claim)
            EXITS.labels(outcome.rule, fate).inc()

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
        self._held.pop(tracked.lifecycle_id, None)
        log.info(
            Event.LIFECYCLE_CLOSED,
            lifecycle_id=str(tracked.lifecycle_id),
            strategy_id=tracked.strategy_id,
            rule=tracked.latched_rule,
        )

    # Said once per change: the sweep looks every second.
    def _note(self, tracked: Tracked, reason: Hold) -> None:
        if self._held.get(tracked.lifecycle_id) is reason:
            return
        self._held[tracked.lifecycle_id] = reason
        facts = {
            "lifecycle_id": str(tracked.lifecycle_id),
            "rule": tracked.latched_rule,
            "signal_id": str(tracked.exit_signal_id),
            "size": str(tracked.size),
        }
        if reason is Hold.POSITION_VIEW_LATE:
            VIEWS_LATE.inc()
            log.error(Event.POSITION_VIEW_LATE, **facts)
        else:
            log.info(Event.EXIT_HELD, reason=reason, **facts)


def view_of(position: Position) -> View:
    """A position of the Position Manager as the core reads it."""
    return View(
        symbol=position.symbol,
        size=position.size,
        entry_price=position.average_entry_price or None,
        seen_at=position.last_updated,
    )


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
