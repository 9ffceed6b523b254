"""Health and metrics, for those without a key: Grafana, the container's probes, Prometheus."""

import asyncio

import msgspec
import prometheus_client
from litestar import MediaType, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ControllerRouterHandler

from common.model_store import ModelStore, StoreState
from common.probes import Health, Probes

PATHS = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
"""What answers without the key, exactly these."""


class ServiceHealth(Health, frozen=True, kw_only=True):
    """Health of the API, and of the model storage as the API finds it."""

    model_storage: StoreState
    """Where the versions lie, as the API finds it."""


_TAGS = ["health"]
_UNHEALTHY = {503: ResponseSpec(ServiceHealth, description="Unhealthy.", generate_examples=False)}
_UNREADY = {503: ResponseSpec(Health, description="Not ready.", generate_examples=False)}


def routes(probes: Probes, store: ModelStore) -> list[ControllerRouterHandler]:
    """Health under the names that Grafana and Kubernetes ask for, and metrics."""

    @get("/health", operation_id="GetHealth", summary="Health", responses=_UNHEALTHY, tags=_TAGS)
    async def health() -> Response[ServiceHealth]:
        """Broker, database, model storage and what troubles them; 503 when nothing works without it."""
        found = await probes.health()
        stored = await asyncio.to_thread(store.state)
        shown = ServiceHealth(**msgspec.structs.asdict(found), model_storage=stored)
        return Response(shown, status_code=503 if found.status == "unhealthy" else 200)

    @get("/health/ready", operation_id="GetReadiness", summary="Readiness", responses=_UNREADY, tags=_TAGS)
    async def ready() -> Response[Health]:
        """200 once requests can be answered: broker and database are there, the schema is new enough."""
        found = await probes.health()
        return Response(found, status_code=200 if probes.is_ready(found) else 503)

    @get("/health/live", operation_id="GetLiveness", summary="Liveness", tags=_TAGS)
    async def live() -> dict[str, str]:
        """The event loop turns."""
        return {"status": "alive"}

    @get(
        "/metrics",
        operation_id="GetMetrics",
        summary="Prometheus metrics",
        media_type=MediaType.TEXT,
        tags=_TAGS,
        sync_to_thread=False,
    )
    def metrics() -> Response[bytes]:
        """Metrics of this process in Prometheus' text format."""
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    return [health, ready, live, metrics]
