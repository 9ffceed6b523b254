"""What each inference replica decides with, as the replicas themselves report it."""

from datetime import datetime, timedelta
from typing import Literal

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.tables import served_versions

ALIVE_S = 30.0
"""A replica whose newest heart-beat is older is not there any more, by the database's clock."""

State = Literal["warm_up", "serving", "lagging", "unavailable"]
"""warm_up: no version is active; serving: the active version decides; lagging: an older one does, because the
active one cannot be loaded; unavailable: nothing does."""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica decides with for one strategy."""

    replica: str
    """Its name: host and process."""
    strategy_id: str
    state: State
    """`lagging`: an older version decides than the active one; `unavailable`: none does."""
    version: str | None
    """The version that decides; for `lagging` the older one."""
    sha256: str | None
    """Of the manifest of `version`."""
    epoch: int
    """The activation that the replica has seen; 0: none yet."""
    since: datetime
    """When the replica came into this state."""
    problem: str | None
    """Why the active version does not decide."""
    heart_beat_at: datetime
    """When it was last heard of."""
    is_alive: bool
    """Whether the replica was heard of within ALIVE_S."""


async def served(connection: AsyncConnection) -> list[Served]:
    """Every report that is kept, by strategy and replica; a replica that stopped in order left none."""
    alive = (served_versions.c.heart_beat_at > func.now() - timedelta(seconds=ALIVE_S)).label("is_alive")
    rows = await connection.execute(
        select(served_versions, alive).order_by(served_versions.c.strategy_id, served_versions.c.replica)
    )
    return [msgspec.convert(row, Served) for row in rows.mappings()]
