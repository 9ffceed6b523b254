"""What operators did, as the audit keeps it."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.queries.conditions import equal
from common.tables import operator_actions

_columns = operator_actions.c


class OperatorAction(msgspec.Struct, frozen=True, kw_only=True):
    """One command that took effect."""

    action_id: int
    """Rises with time; older actions have smaller ones."""
    acted_at: datetime
    """When it took effect."""
    actor: str
    action: str
    """What was done, in the imperative: `activate`, `cancel_training`."""
    subject: str
    """To what, with its kind: `version:v7`, `strategy:momentum`."""
    reason: str | None
    details: dict[str, Any] | None
    """What else is worth knowing, by the kind of action."""
    trace_id: str
    """Of the request."""


async def actions(
    connection: AsyncConnection,
    *,
    action: str | None,
    subject: str | None,
    actor: str | None,
    before: int | None,
    limit: int,
) -> list[OperatorAction]:
    """The newest actions before that id first."""
    older = [] if before is None else [_columns.action_id < before]
    rows = await connection.execute(
        select(operator_actions)
        .where(
            *equal((_columns.action, action), (_columns.subject, subject), (_columns.actor, actor)), *older
        )
        .order_by(_columns.action_id.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, OperatorAction) for row in rows.mappings()]
