"""Alerts: what an operator should look at, stored once per kind and scope until it is over.

Raising and resolving are idempotent, so every replica may say what it sees in every round.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.tables import alerts

Severity = Literal["warning", "critical"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was wrong, or still is while `resolved_at` is null."""

    alert_id: UUID
    """The same for as long as it is open."""
    kind: str
    """Which alert, as docs/events.md names it."""
    scope: str
    """What it is about: `fleet`, `strategy:<id>`, `symbol:<symbol>`, `version:<v>`."""
    severity: Severity
    """critical: money or safety is at stake."""
    sentence: str
    """What is wrong, for people."""
    figures: dict[str, Any] | None
    """The numbers behind the sentence."""
    raised_at: datetime
    """When it was first seen."""
    last_seen_at: datetime
    """When it was last seen."""
    sightings: int
    """How often it was seen."""
    resolved_at: datetime | None
    """When it was over; null: it is open."""


async def raise_alert(
    connection: AsyncConnection,
    kind: str,
    scope: str,
    sentence: str,
    *,
    severity: Severity = "warning",
    figures: Mapping[str, object] | None = None,
) -> bool:
    """An open alert of `kind` and `scope` exists and says `sentence`; True where it is new."""
    new = insert(alerts).values(
        alert_id=uuid4(), kind=kind, scope=scope, severity=severity, sentence=sentence, figures=figures
    )
    inserted = await connection.execute(
        new.on_conflict_do_update(
            index_elements=["kind", "scope"],
            index_where=text("resolved_at IS NULL"),
            set_={
                "severity": new.excluded.severity,
                "sentence": new.excluded.sentence,
                "figures": new.excluded.figures,
                "last_seen_at": func.now(),
                "sightings": alerts.c.sightings + 1,
            },
        ).returning(alerts.c.sightings)
    )
    return bool(inserted.scalar_one() == 1)


async def resolve_alert(connection: AsyncConnection, kind: str, scope: str) -> bool:
    """No alert of `kind` and `scope` is open; True where one was."""
    resolved = await connection.execute(
        update(alerts)
        .where(alerts.c.kind == kind, alerts.c.scope == scope, alerts.c.resolved_at.is_(None))
        .values(resolved_at=func.now())
    )
    return resolved.rowcount > 0


async def recent_alerts(
    connection: AsyncConnection, *, only_open: bool = False, limit: int = 100
) -> list[Alert]:
    """The newest alerts first."""
    question = select(alerts).order_by(alerts.c.raised_at.desc()).limit(limit)
    if only_open:
        question = question.where(alerts.c.resolved_at.is_(None))
    return [msgspec.convert(row, Alert) for row in (await connection.execute(question)).mappings()]
