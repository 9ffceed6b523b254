"""The fleet's replicas and modes: who decides with what, and since when."""

import msgspec
from litestar import get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncEngine

from api.parameters import Limit, StrategyPath
from api.problems import documented
from api.settings import Settings
from common import modes, served_versions
from common.core.modes import ModeChange
from common.errors import NotFound
from common.served_versions import Served


class Replicas(msgspec.Struct, frozen=True, kw_only=True):
    """What the inference replicas report, by strategy and replica."""

    items: list[Served]
    total: int


class Modes(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's changes between warm-up and model, the newest first."""

    items: list[ModeChange]
    limit: int


@get("/fleet/replicas", operation_id="ListReplicas", summary="Replicas", responses=documented())
async def list_replicas(engine: NamedDependency[AsyncEngine]) -> Replicas:
    """What each inference replica decides with, by its own heart-beat, and what it cannot load and why."""
    async with engine.connect() as connection:
        found = await served_versions.served(connection)
    return Replicas(items=found, total=len(found))


@get(
    "/strategies/{strategy_id:str}/modes",
    operation_id="ListModes",
    summary="Modes of a strategy",
    responses=documented(404),
)
async def list_modes(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    strategy_id: StrategyPath,
    limit: Limit = 100,
) -> Modes:
    """When the strategy warmed up and when a model decided, with the reason and figures of each change."""
    async with engine.connect() as connection:
        found = await modes.mode_changes(connection, strategy_id, limit)
    if not found and strategy_id not in settings.strategies():
        raise NotFound("no such strategy: TRADING_STRATEGIES names those that there are")
    return Modes(items=found, limit=limit)
