"""Closing a position over HTTP: an operator asks, an exit worker closes it as it closes any other."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
import structlog
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from api import audit
from api.events import Event
from api.parameters import ACTOR, SYMBOL, Actor, Reason
from api.problems import documented
from common.errors import NotFound
from common.tables import position_lifecycles

log = structlog.get_logger(__name__)

SymbolPath = Annotated[str, PathParameter(max_length=20, pattern=SYMBOL)]


class CloseWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A position that is to be closed now."""

    reason: Reason
    """Why; it stays with the position's history."""
    actor: Actor = ACTOR
    """Who says so."""


class CloseRequested(msgspec.Struct, frozen=True, kw_only=True):
    """The close that an exit worker carries out."""

    symbol: str
    lifecycle_id: UUID
    close_requested_at: datetime
    close_actor: str
    close_reason: str


@post(
    "/positions/{symbol:str}/close",
    operation_id="ClosePosition",
    summary="Close a position now",
    status_code=202,
    responses=documented(404, 413),
)
async def close_position(
    engine: NamedDependency[AsyncEngine], symbol: SymbolPath, data: JSONBody[CloseWanted]
) -> CloseRequested:
    """An exit worker closes all of the position within seconds, and follows until it is closed.

    Also while exits by rule are disabled; while the trading state of scope `exits` is HALTED it waits. Asking
    again keeps the first request.
    """
    lifecycle = position_lifecycles.c
    of_symbol = (lifecycle.symbol == symbol, lifecycle.closed_at.is_(None))
    shown = [lifecycle[name] for name in CloseRequested.__struct_fields__]
    async with engine.begin() as connection:
        rows = await connection.execute(
            update(position_lifecycles)
            .where(*of_symbol, lifecycle.close_requested_at.is_(None))
            .values(close_requested_at=func.now(), close_actor=data.actor, close_reason=data.reason)
            .returning(*shown)
        )
        asked = rows.mappings().first()
        if asked is None:
            rows = await connection.execute(select(*shown).where(*of_symbol))
            earlier = rows.mappings().first()
            if earlier is None:
                raise NotFound("no open position of this symbol is watched")
            return msgspec.convert(earlier, CloseRequested)
        requested = msgspec.convert(asked, CloseRequested)
        await audit.record(
            connection,
            "close_position",
            f"position:{symbol}",
            actor=data.actor,
            reason=data.reason,
            details={"lifecycle_id": str(requested.lifecycle_id)},
        )
    log.warning(
        Event.CLOSE_REQUESTED,
        symbol=symbol,
        lifecycle_id=str(requested.lifecycle_id),
        actor=data.actor,
        reason=data.reason,
    )
    return requested
