"""Closing a position over HTTP: an operator asks, an exit worker closes it as it closes any other."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
import structlog
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncEngine

from api.events import Event
from api.parameters import SYMBOL, Actor, Reason
from api.problems import documented
from common.errors import NotFound
from common.tables import position_lifecycles

log = structlog.get_logger(__name__)

SymbolPath = Annotated[str, PathParameter(max_length=20, pattern=SYMBOL)]


class CloseWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A position that is to be closed now."""

    actor: Actor
    """Who says so."""
    reason: Reason
    """Why; it stays with the position's history."""


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
    async with engine.begin() as connection:
        rows = await connection.execute(
            update(position_lifecycles)
            .where(lifecycle.symbol == symbol, lifecycle.closed_at.is_(None))
            .values(
                close_requested_at=func.coalesce(lifecycle.close_requested_at, func.now()),
                close_actor=func.coalesce(lifecycle.close_actor, data.actor),
                close_reason=func.coalesce(lifecycle.close_reason, data.reason),
            )
            .returning(
                lifecycle.symbol,
                lifecycle.lifecycle_id,
                lifecycle.close_requested_at,
                lifecycle.close_actor,
                lifecycle.close_reason,
            )
        )
        row = rows.mappings().first()
    if row is None:
        raise NotFound("no open position of this symbol is watched")
    requested = msgspec.convert(row, CloseRequested)
    log.warning(
        Event.CLOSE_REQUESTED,
        symbol=symbol,
        lifecycle_id=str(requested.lifecycle_id),
        actor=data.actor,
        reason=data.reason,
    )
    return requested
