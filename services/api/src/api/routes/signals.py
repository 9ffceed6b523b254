"""Signals over HTTP: what was sent, and why one of them was, or was not."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.explanation import Explanation, explanation
from api.core.pages import Cursor, Window, cut
from api.pages import Before, FromTime, ToTime, window
from api.parameters import Limit, StrategyFilter, SymbolFilter
from api.problems import documented
from api.queries import executions, signals
from api.queries.signals import Intent, Order, Signal
from common.errors import NotFound
from common.messages import Side
from common.trading_log import Execution

MOST_FILLS = 1000
"""Of one signal, the newest."""

SideFilter = Annotated[Side | None, QueryParameter(description="Only buys, or only sells.")]
KindFilter = Annotated[
    Literal["entry", "exit"] | None,
    QueryParameter(description="Only exits by rule, or only everything else."),
]
WarmupFilter = Annotated[
    bool | None, QueryParameter(description="Only the warm-up's, or only those of models and exit rules.")
]


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the signals, the newest first."""

    items: list[Signal]
    limit: int
    next_before: str | None
    """Asks for what is older, as `before`; null: there is nothing."""


class ExplainedSignal(Signal, frozen=True, kw_only=True):
    """A signal with all that is known of it, from the decision to the fills."""

    explanation: Explanation
    outbox: Intent | None
    """How its publishing went; null: the outbox no longer keeps it."""
    orders: list[Order] | None
    """What the Order Manager made of it, the oldest first; null: there is none whose tables could be read."""
    executions: list[Execution]
    """Its fills, the newest first."""


@get("/signals", operation_id="ListSignals", summary="Signals", responses=documented())
async def list_signals(
    engine: NamedDependency[AsyncEngine],
    *,
    strategy_id: StrategyFilter = None,
    symbol: SymbolFilter = None,
    side: SideFilter = None,
    kind: KindFilter = None,
    is_warmup: WarmupFilter = None,
    start_time: FromTime = None,
    end_time: ToTime = None,
    before: Before = None,
    limit: Limit = 100,
) -> Signals:
    """The newest published signals first, each with the market that it saw and the figures behind it."""
    wanted = window(start_time=start_time, end_time=end_time, before=before, limit=limit)
    async with engine.connect() as connection:
        found = await signals.signals(
            connection,
            wanted,
            strategy_id=strategy_id,
            symbol=symbol,
            side=side,
            kind=kind,
            is_warmup=is_warmup,
        )
    items, next_before = cut(found, limit, lambda each: Cursor(each.timestamp, each.signal_id))
    return Signals(items=items, limit=limit, next_before=next_before)


@get(
    "/signals/{signal_id:uuid}",
    operation_id="GetSignal",
    summary="One signal, explained",
    responses=documented(404),
)
async def get_signal(engine: NamedDependency[AsyncEngine], signal_id: FromPath[UUID]) -> ExplainedSignal:
    """Why it was decided, how it was published, and what came of it.

    Also one that was decided and never published: its outbox says why, for as long as it is kept.
    """
    async with engine.connect() as connection:
        known = await signals.signal(connection, signal_id)
        if known is None:
            raise NotFound("no such signal")
        found, intent, message = known
        orders = await signals.orders(connection, signal_id)
        fills = await executions.executions(connection, Window(limit=MOST_FILLS), signal_id=signal_id)
    return ExplainedSignal(
        **msgspec.structs.asdict(found),
        explanation=explanation(found.metadata, message.metadata if message else None),
        outbox=intent,
        orders=orders,
        executions=fills[:MOST_FILLS],
    )
