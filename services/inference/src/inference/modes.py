"""Warm-up or model: each strategy's changes of mode, written down once, and warm-ups that last too long.

The registry decides the mode; nothing here is asked when a vector comes. Every replica looks; whichever sees
a change first stores and logs it.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from sqlalchemy import exists, func, not_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common import model_registry
from common.alerts import raise_alert, resolve_alert
from common.core.modes import Mode
from common.core.trading_state import TradingState, scope_of
from common.database import naive_utc
from common.modes import mode_changes
from common.tables import alerts, trading_signals, trading_state_changes
from common.tables import mode_changes as mode_rows
from common.trading_log import of_exit_rule
from common.trading_states import tighten_state
from inference.core.modes import Period, Transition, hours, transitions, warmed_up_too_long
from inference.events import Event

log = structlog.get_logger(__name__)

LIMIT_ACTOR = "warm-up limit"
"""Who acts, in the history of trading states, where a warm-up lasts too long."""
ALERT = "warmup_too_long"
"""The kind of the alert."""

# Signals of a long period are many to count, and nobody waits for it.
_PATIENT = text("SET LOCAL statement_timeout = '2s'")


class Modes:
    """Watches the modes of strategies; `max_hours` of warm-up by strategy, 0 for no limit.

    `state_initial` is the trading state while none is stored.
    """

    def __init__(
        self,
        max_hours: Mapping[str, float],
        engine: AsyncEngine,
        *,
        state_initial: TradingState = TradingState.ACTIVE,
    ) -> None:
        self._max_hours = max_hours
        self._engine = engine
        self._state_initial = state_initial
        self._settled: dict[str, int | None] = {}
        """Epoch at which a strategy was seen to be in no warm-up: nothing to look at while it stands."""

    async def look(self) -> None:
        """Every change of mode is stored and logged once; a strategy that warms up too long is reduced."""
        async with self._engine.connect() as connection:
            active = await model_registry.active_of(connection, self._max_hours)
        epochs = {strategy_id: each.epoch for strategy_id, each in active.items()}
        for strategy_id, max_hours in self._max_hours.items():
            epoch = epochs.get(strategy_id)
            if epoch is not None and self._settled.get(strategy_id) == epoch:
                continue
            async with self._engine.begin() as connection:
                await connection.execute(_PATIENT)
                period, changes = await _follow(connection, strategy_id)
                limited = await _limit(connection, strategy_id, period, max_hours, self._state_initial)
            if period.mode != "warm_up":
                self._settled[strategy_id] = epoch
            for change in changes:
                _log_change(strategy_id, change)
            if limited:
                log.error(
                    Event.WARM_UP_TOO_LONG,
                    strategy_id=strategy_id,
                    since=period.since.isoformat(),
                    limit_hours=max_hours,
                )


async def _follow(connection: AsyncConnection, strategy_id: str) -> tuple[Period, list[Transition]]:
    stored = await mode_changes(connection, strategy_id, limit=1)
    period = None
    for last in stored:
        period = Period(epoch=last.epoch, mode=last.mode, since=last.changed_at)
    active = await model_registry.active_for(connection, strategy_id)
    if period is not None and (active is None or active.epoch <= period.epoch):
        return period, []
    history = await model_registry.activations(connection, strategy_id, limit=None)
    new = []
    for change in transitions(period, history, datetime.now(UTC)):
        if await _store(connection, strategy_id, change):
            new.append(change)
        period = change.began
    assert period is not None, "the first transition of a history is always one"
    return period, new


async def _store(connection: AsyncConnection, strategy_id: str, change: Transition) -> bool:
    inserted = await connection.execute(
        insert(mode_rows)
        .values(
            strategy_id=strategy_id,
            epoch=change.began.epoch,
            mode=change.began.mode,
            version=change.version,
            reason=change.reason,
            figures=await _figures(connection, strategy_id, change),
            changed_at=change.began.since,
        )
        .on_conflict_do_nothing(index_elements=["strategy_id", "epoch"])
        .returning(mode_rows.c.epoch)
    )
    return inserted.first() is not None


async def _figures(connection: AsyncConnection, strategy_id: str, change: Transition) -> dict[str, object]:
    before = change.before
    if before is None:
        return {}
    entries: int | None = None
    # A change is stored even where its signals are too many to count in time.
    with suppress(DBAPIError):
        async with connection.begin_nested():
            entries = await _entries_between(
                connection, strategy_id, before.mode, before.since, until=change.began.since
            )
    return {
        "former_mode": before.mode,
        "former_epoch": before.epoch,
        "former_mode_hours": hours(change.began.since - before.since),
        "former_mode_entries": entries,
    }


async def _entries_between(
    connection: AsyncConnection, strategy_id: str, mode: Mode, since: datetime, *, until: datetime
) -> int:
    return (
        await connection.scalar(
            select(func.count())
            .select_from(trading_signals)
            .where(
                trading_signals.c.strategy_id == strategy_id,
                trading_signals.c.is_warmup.is_(mode == "warm_up"),
                trading_signals.c.timestamp.between(naive_utc(since), naive_utc(until)),
                not_(of_exit_rule()),
            )
        )
        or 0
    )


async def _limit(
    connection: AsyncConnection, strategy_id: str, period: Period, max_hours: float, initial: TradingState
) -> bool:
    scope = scope_of(strategy_id)
    now = datetime.now(UTC)
    if not warmed_up_too_long(period, max_hours, now):
        await resolve_alert(connection, ALERT, scope)
        return False
    # Whoever holds the period's row decides for it; the others find it decided.
    await connection.execute(
        select(mode_rows.c.epoch)
        .where(mode_rows.c.strategy_id == strategy_id, mode_rows.c.epoch == period.epoch)
        .with_for_update()
    )
    decided = await _was_limited(connection, scope, period)
    if not decided:
        await _end_alert_of_an_earlier_period(connection, scope, period)
    figures = {
        "warm_up_since": period.since.isoformat(),
        "warm_up_hours": hours(now - period.since),
        "limit_hours": max_hours,
    }
    sentence = f"strategy {strategy_id} has warmed up for more than {max_hours:g} hours and has no model yet"
    await raise_alert(connection, ALERT, scope, sentence, severity="critical", figures=figures)
    # Once a period: an operator who sets ACTIVE after that has read the alert and means it.
    return not decided and await tighten_state(
        connection,
        scope,
        TradingState.REDUCING,
        actor=LIMIT_ACTOR,
        reason=sentence,
        figures=figures,
        initial=initial,
    )


async def _was_limited(connection: AsyncConnection, scope: str, period: Period) -> bool:
    return bool(
        await connection.scalar(
            select(
                exists().where(
                    alerts.c.kind == ALERT, alerts.c.scope == scope, alerts.c.raised_at >= period.since
                )
                | exists().where(
                    trading_state_changes.c.scope == scope,
                    trading_state_changes.c.actor == LIMIT_ACTOR,
                    trading_state_changes.c.changed_at >= period.since,
                )
            )
        )
    )


async def _end_alert_of_an_earlier_period(connection: AsyncConnection, scope: str, period: Period) -> None:
    await connection.execute(
        update(alerts)
        .where(
            alerts.c.kind == ALERT,
            alerts.c.scope == scope,
            alerts.c.resolved_at.is_(None),
            alerts.c.raised_at < period.since,
        )
        .values(resolved_at=func.now())
    )


def _log_change(strategy_id: str, change: Transition) -> None:
    log.info(
        Event.MODE_CHANGED,
        strategy_id=strategy_id,
        mode=change.began.mode,
        epoch=change.began.epoch,
        version=change.version,
        reason=change.reason,
        former_mode=change.before.mode if change.before else None,
        former_mode_hours=hours(change.began.since - change.before.since) if change.before else None,
    )
