"""What is said of exits: log lines, counters, and alerts for what somebody has to look at."""

from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from common.alerts import raise_alert, resolve_alert
from common.core.exits.dispatch import Issue
from common.core.exits.holds import Hold
from common.core.exits.position import Price, Tracked, Verdict
from common.messages import TradingSignal
from exit_strategy.events import Event
from exit_strategy.metrics import RATE_LIMITED, REISSUES, TRIGGERS, VIEWS_LATE

log = structlog.get_logger(__name__)

ALERTS = {
    Hold.POSITION_VIEW_LATE: "position_view_late",
    Hold.EXITS_REFUSED_REPEATEDLY: "exits_refused",
    Hold.NOTHING_BOOKED: "nothing_booked",
}
"""Why an exit waits that somebody has to look at, and the kind of alert that says so."""

_SAID = {
    Hold.POSITION_VIEW_LATE: Event.POSITION_VIEW_LATE,
    Hold.EXITS_REFUSED_REPEATEDLY: Event.EXIT_REFUSED_AGAIN,
    Hold.NOTHING_BOOKED: Event.EXIT_HELD,
}


class Notes:
    """Why the exits of open positions wait; said once per change: the sweep looks every second."""

    def __init__(self) -> None:
        self._held: dict[UUID, Hold] = {}

    async def held(self, connection: AsyncConnection, tracked: Tracked, reason: Hold) -> None:
        """The exit of `tracked` waits because of `reason`, and whoever has to know is told."""
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

    def reason(self, tracked: Tracked) -> Hold | None:
        """Why the exit of `tracked` waits, as this worker saw it last."""
        return self._held.get(tracked.lifecycle_id)

    def released(self, tracked: Tracked) -> None:
        """The exit of `tracked` waits for nothing any more."""
        self._held.pop(tracked.lifecycle_id, None)

    async def closed(self, connection: AsyncConnection, tracked: Tracked) -> None:
        """`tracked` is over, and with it all that somebody had to look at."""
        for kind in ALERTS.values():
            await resolve_alert(connection, kind, f"symbol:{tracked.symbol}")
        self.released(tracked)
        log.info(
            Event.LIFECYCLE_CLOSED,
            lifecycle_id=str(tracked.lifecycle_id),
            strategy_id=tracked.strategy_id,
            rule=tracked.latched_rule,
        )


def log_opened(tracked: Tracked) -> None:
    """A position is watched from now on."""
    log.info(
        Event.LIFECYCLE_OPENED,
        lifecycle_id=str(tracked.lifecycle_id),
        strategy_id=tracked.strategy_id,
        side=tracked.side,
        size=str(tracked.size),
        entry_price=str(tracked.entry_price),
        opened_at=tracked.opened_at.isoformat(),
    )


def log_triggered(tracked: Tracked, verdict: Verdict, price: Price) -> None:
    """A rule fired and is latched."""
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


def log_emitted(signal: TradingSignal, issue: Issue, tracked: Tracked) -> None:
    """An exit was decided and claimed."""
    if issue.generation > 1:
        REISSUES.labels(issue.rule).inc()
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
