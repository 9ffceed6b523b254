"""What operators did: each command leaves a row, in the transaction of its effect."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from common import tracing
from common.tables import operator_actions


async def record(
    connection: AsyncConnection,
    action: str,
    subject: str,
    *,
    actor: str,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """The action stands in the audit once the caller's transaction commits.

    `action` is what was done, in the imperative (`activate`, `cancel_training`), `subject` to what,
    with its kind (`version:v7`, `strategy:momentum`, `position:BTCUSDT`).
    """
    await connection.execute(
        insert(operator_actions).values(
            actor=actor,
            action=action,
            subject=subject[:150],
            reason=reason,
            details=details,
            trace_id=tracing.current(),
        )
    )
