"""What happened lately, for the event stream.

A row's time is that of the transaction's begin, and transactions commit out of order. So each look goes
further back than the last one, and whoever asks leaves out what he saw there before.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Select, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.core.news import (
    ActivationTold,
    AlertTold,
    News,
    Sight,
    SignalTold,
    SkipTold,
    StateTold,
    Told,
    TrainingTold,
)
from common.database import naive_utc
from common.tables import (
    activations,
    alerts,
    latest_outcomes,
    trading_signals,
    trading_state_changes,
    training_runs,
)

OVERLAP = timedelta(seconds=60)
"""How much further than the last look each one goes back: no transaction of ours takes as long."""
MAX_ROWS = 10_000
"""Of each kind and look; strategies and symbols that are looked at for skips are rows as well."""
PUBLISHED_WITHIN = timedelta(minutes=10)
"""How long after its decision a signal is still looked for: the relay may have published it late."""


class _Kind(msgspec.Struct, frozen=True):
    name: str
    told: type[Told]
    key: tuple[str, ...]
    question: Callable[[datetime], Select[Any]]


async def recent(connection: AsyncConnection, since: datetime | None) -> Sight:
    """What happened since then, or in the OVERLAP before now."""
    now: datetime = (await connection.execute(select(func.now()))).scalar_one()
    begin = now - OVERLAP if since is None else since
    found = [await _read(connection, kind, begin) for kind in _KINDS]
    return Sight(
        now=now,
        news=[each for news in found for each in news],
        is_whole=all(len(news) < MAX_ROWS for news in found),
    )


async def _read(connection: AsyncConnection, kind: _Kind, since: datetime) -> list[News]:
    rows = await connection.execute(kind.question(since).limit(MAX_ROWS))
    return [
        News(
            name=row.get("name", kind.name),
            key=":".join((kind.name, *(str(row[name]) for name in kind.key))),
            at=row["at"],
            told=msgspec.convert(row, kind.told),
        )
        for row in rows.mappings()
    ]


def _signals(since: datetime) -> Select[Any]:
    signals = trading_signals.c
    rule = signals.metadata["rule_triggered"].astext
    decided_at = func.timezone("UTC", signals.timestamp)
    return select(
        case((rule.is_not(None), "exit"), else_="signal").label("name"),
        decided_at.label("at"),
        signals.signal_id,
        signals.strategy_id,
        signals.asset.label("symbol"),
        signals.side,
        func.trim_scale(signals.price).label("price"),
        decided_at.label("timestamp"),
        signals.model_version,
        signals.is_warmup,
        rule.label("rule"),
    ).where(
        signals.timestamp >= naive_utc(since - PUBLISHED_WITHIN),
        signals.created_at >= naive_utc(since),
    )


# All of them in every look: only the newest is kept, so that it changed is all there is to find.
def _outcomes(_: datetime) -> Select[Any]:
    return select(latest_outcomes, latest_outcomes.c.decided_at.label("at"))


def _activations(since: datetime) -> Select[Any]:
    begun = activations.c.activated_at
    return select(activations, begun.label("at")).where(begun >= since)


def _trainings(since: datetime) -> Select[Any]:
    changed = training_runs.c.updated_at
    return select(training_runs, changed.label("at")).where(changed >= since)


def _states(since: datetime) -> Select[Any]:
    changed = trading_state_changes.c.changed_at
    return select(trading_state_changes, changed.label("at")).where(changed >= since)


def _alerts(since: datetime) -> Select[Any]:
    over = alerts.c.resolved_at
    at = func.coalesce(over, alerts.c.raised_at).label("at")
    return select(alerts, at).where(or_(over.is_(None), over >= since))


_KINDS = (
    _Kind("signal", SignalTold, ("signal_id",), _signals),
    _Kind("skip", SkipTold, ("strategy_id", "symbol", "outcome", "reason"), _outcomes),
    _Kind("activation", ActivationTold, ("strategy_id", "epoch"), _activations),
    _Kind("training", TrainingTold, ("run_id", "updated_at"), _trainings),
    _Kind("state", StateTold, ("change_id",), _states),
    _Kind("alert", AlertTold, ("alert_id", "severity", "resolved_at"), _alerts),
)
