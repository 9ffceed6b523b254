"""Decisions over HTTP: signals, exits and skips in one stream, as they were made."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.pages import Window
from api.parameters import Limit, StrategyFilter, SymbolFilter
from api.problems import documented
from api.queries import outcomes, signals
from api.queries.outcomes import LatestOutcome
from api.queries.signals import Signal
from common.messages import Side

_OF_EXIT = ("generation", "pnl_pct", "reasoning", "size")
_OF_ENTRY = ("reasoning",)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision."""

    at: datetime
    """When it was made."""
    kind: Literal["signal", "skip", "exit"]
    """`exit`: an exit rule sent it."""
    strategy_id: str
    symbol: str
    side: Side | None
    """Null: a skip."""
    reason: str | None
    """Of a skip the gate's, of an exit the rule; null: a signal."""
    signal_id: UUID | None
    """Null: a skip."""
    version: str | None
    """What decided; null: the warm-up, an exit rule, or no model had a part in it."""
    facts: dict[str, Any]
    """The figures of the gate that said no, or the signal's price, amount and reasoning."""


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """The newest decision first."""

    items: list[Decision]
    limit: int


@get("/decisions", operation_id="ListDecisions", summary="Decisions", responses=documented())
async def list_decisions(
    engine: NamedDependency[AsyncEngine],
    strategy_id: StrategyFilter = None,
    symbol: SymbolFilter = None,
    limit: Limit = 100,
) -> Decisions:
    """The newest signals and exits, and of each strategy and symbol the skip that its newest vector ended in.

    Earlier skips are counted, not kept: see the skip metrics.
    """
    async with engine.connect() as connection:
        sent = await signals.signals(connection, Window(limit=limit), strategy_id=strategy_id, symbol=symbol)
        latest = await outcomes.latest_outcomes(connection, strategy_id=strategy_id, symbol=symbol)
    made = [_of_signal(each) for each in sent]
    made += [_of_skip(each) for each in latest if each.outcome == "skip"]
    made.sort(key=lambda decision: decision.at, reverse=True)
    return Decisions(items=made[:limit], limit=limit)


def _of_signal(signal: Signal) -> Decision:
    metadata, is_exit = signal.metadata or {}, signal.kind == "exit"
    told = {name: metadata[name] for name in (_OF_EXIT if is_exit else _OF_ENTRY) if name in metadata}
    return Decision(
        at=signal.timestamp,
        kind="exit" if is_exit else "signal",
        strategy_id=signal.strategy_id,
        symbol=signal.symbol,
        side=signal.side,
        reason=metadata["rule_triggered"] if is_exit else None,
        signal_id=signal.signal_id,
        version=signal.model_version,
        facts={
            "price": signal.price,
            "amount_quote": signal.amount_quote,
            "confidence": signal.confidence,
            "is_warmup": signal.is_warmup,
            **told,
        },
    )


def _of_skip(outcome: LatestOutcome) -> Decision:
    return Decision(
        at=outcome.decided_at,
        kind="skip",
        strategy_id=outcome.strategy_id,
        symbol=outcome.symbol,
        side=None,
        reason=outcome.reason,
        signal_id=None,
        version=outcome.version,
        facts=outcome.facts or {},
    )
