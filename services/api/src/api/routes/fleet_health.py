"""The fleet's health in detail: every check of the API, and how much needs somebody's attention."""

import asyncio
from typing import Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncEngine

from api.problems import documented
from api.queries.fleet_health import FleetHealth, Replicas, fleet_health
from common.database import DATABASE_ERRORS
from common.model_store import ModelStore, StoreState
from common.probes import CheckResult, Probes


class Check(CheckResult, frozen=True, kw_only=True):
    """One check of the API."""

    name: str
    """database, queue, model_storage."""
    message: str | None
    """What is wrong; null: nothing."""


class Storage(StoreState, frozen=True, kw_only=True):
    """The model storage, and where it is."""

    path: str
    """MODEL_STORAGE_URL of the API, or its MODEL_STORAGE_PATH."""


class HealthDetails(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet as the API finds it."""

    status: Literal["healthy", "degraded", "unhealthy"]
    """As `/health` says it of the API."""
    service: str
    """Which service answers."""
    database_connected: bool
    """PostgreSQL answers with the schema of this build."""
    queue_connected: bool
    """The broker answers."""
    checks: list[Check]
    """Every check that `/health` makes."""
    model_storage: Storage
    """Where the versions lie."""
    replicas: Replicas | None
    """Null, as the two counts below: the database does not answer."""
    open_alerts: int | None
    """Alerts that are not over."""
    dead_letters_open: int | None
    """Dead letters that nobody has settled."""


@get(
    "/monitoring/health",
    operation_id="GetHealthDetails",
    summary="Health in detail",
    responses=documented(),
)
async def health_details(
    engine: NamedDependency[AsyncEngine],
    store: NamedDependency[ModelStore],
    probes: NamedDependency[Probes],
) -> HealthDetails:
    """Every check with its latency and what is wrong; 200 also while something is, `status` says so."""
    health = await probes.health()
    storage = await asyncio.to_thread(store.state)
    counted = await _counted(engine) if health.database_connected else None
    return HealthDetails(
        status=health.status,
        service=health.service,
        database_connected=health.database_connected,
        queue_connected=health.queue_connected,
        checks=[
            Check(
                name=name,
                state=result.state,
                latency_ms=result.latency_ms,
                message=health.problems.get(name),
            )
            for name, result in health.checks.items()
        ],
        model_storage=Storage(**msgspec.structs.asdict(storage), path=store.location),
        replicas=counted.replicas if counted else None,
        open_alerts=counted.open_alerts if counted else None,
        dead_letters_open=counted.dead_letters_open if counted else None,
    )


async def _counted(engine: AsyncEngine) -> FleetHealth | None:
    try:
        async with engine.connect() as connection:
            return await fleet_health(connection)
    except DATABASE_ERRORS:
        return None
