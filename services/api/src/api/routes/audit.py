"""The audit over HTTP: which commands took effect, by whom and why."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.parameters import STORABLE, Limit
from api.problems import documented
from api.queries import audit
from api.queries.audit import OperatorAction

ActionFilter = Annotated[
    str | None, QueryParameter(max_length=50, pattern=STORABLE, description="Only this action: `activate`.")
]
SubjectFilter = Annotated[
    str | None,
    QueryParameter(
        max_length=150, pattern=STORABLE, description="Only what was done to it: `strategy:momentum`."
    ),
]
ActorFilter = Annotated[
    str | None, QueryParameter(max_length=100, pattern=STORABLE, description="Only what this actor did.")
]
Before = Annotated[
    int | None, QueryParameter(ge=1, le=2**63 - 1, description="Only actions before that id: `next_before`.")
]


class OperatorActions(msgspec.Struct, frozen=True, kw_only=True):
    """The newest action first."""

    items: list[OperatorAction]
    limit: int
    next_before: int | None
    """Asks for what is older; null: there is nothing."""


@get("/monitoring/audit", operation_id="ListOperatorActions", summary="Audit", responses=documented())
async def list_actions(
    engine: NamedDependency[AsyncEngine],
    *,
    action: ActionFilter = None,
    subject: SubjectFilter = None,
    actor: ActorFilter = None,
    limit: Limit = 100,
    before: Before = None,
) -> OperatorActions:
    """Every command that came over the API and took effect; what was refused is in the log alone."""
    async with engine.connect() as connection:
        found = await audit.actions(
            connection, action=action, subject=subject, actor=actor, before=before, limit=limit + 1
        )
    page = found[:limit]
    return OperatorActions(
        items=page, limit=limit, next_before=page[-1].action_id if len(found) > limit else None
    )
