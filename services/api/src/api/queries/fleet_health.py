"""How many of the fleet's parts are well, for who looks at health."""

from datetime import timedelta

import msgspec
from sqlalchemy import and_, distinct, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.queries.dead_letters import open_letters
from common.served_versions import ALIVE_S
from common.tables import alerts, served_versions


class Replicas(msgspec.Struct, frozen=True, kw_only=True):
    """The inference replicas that there are."""

    alive: int
    """Heard of within 30 seconds."""
    lagging: int
    """Of these, replicas that do not decide with the active version of some strategy."""


class FleetHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet, counted."""

    replicas: Replicas
    open_alerts: int
    dead_letters_open: int


async def fleet_health(connection: AsyncConnection) -> FleetHealth:
    """The counts as the database has them now."""
    served = served_versions.c
    alive = served.heart_beat_at > func.now() - timedelta(seconds=ALIVE_S)
    behind = and_(alive, served.state.in_(("lagging", "unavailable")))
    counted = await connection.execute(
        select(
            func.count(distinct(served.replica)).filter(alive).label("alive"),
            func.count(distinct(served.replica)).filter(behind).label("lagging"),
        )
    )
    open_alerts = select(func.count()).select_from(alerts).where(alerts.c.resolved_at.is_(None))
    return FleetHealth(
        replicas=msgspec.convert(counted.mappings().one(), Replicas),
        open_alerts=await connection.scalar(open_alerts) or 0,
        dead_letters_open=await open_letters(connection),
    )
