"""The API service, composed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import prometheus_client
import structlog
from litestar import Litestar, MediaType, Response, get
from litestar.types import ControllerRouterHandler

from api.settings import Settings
from common import bus
from common.background import BackgroundTasks
from common.database import create_engine
from common.probes import Health, Probes, database_check, queue_check
from common.telemetry import Event

log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> Litestar:
    """Health under the name that Grafana asks for, and metrics."""
    engine = create_engine(settings, application="api")
    broker = bus.create_broker(settings, service="api")
    probes = Probes(
        "model-service",
        database=database_check(engine),
        queue=queue_check(broker),
        lacks=["versions, metrics, training and console: only health is served"],
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        log.info(Event.SERVICE_STARTED)
        async with BackgroundTasks() as tasks:
            tasks.start(bus.connect(broker))
            yield
        await broker.stop()
        await engine.dispose()
        log.info(Event.SERVICE_STOPPED)

    return Litestar(_health_routes(probes), lifespan=[lifespan], openapi_config=None, logging_config=None)


def _health_routes(probes: Probes) -> list[ControllerRouterHandler]:
    @get(["/health", "/health/ready"])
    async def health() -> Response[Health]:
        found = await probes.health()
        return Response(found, status_code=503 if found.status == "unhealthy" else 200)

    @get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @get("/metrics", media_type=MediaType.TEXT, sync_to_thread=False)
    def metrics() -> Response[bytes]:
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    return [health, live, metrics]
