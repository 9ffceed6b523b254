"""Health and metrics, for those without a key: Grafana, the container's probes, Prometheus."""

import prometheus_client
from litestar import MediaType, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ControllerRouterHandler

from common.probes import Health, Probes

PATHS = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
"""What answers without the key, exactly these."""


_TAGS = ["health"]
_UNHEALTHY = {503: ResponseSpec(Health, description="Unhealthy.", generate_examples=False)}


def routes(probes: Probes) -> list[ControllerRouterHandler]:
    """Health under the names that Grafana and Kubernetes ask for, and metrics."""

    async def answer() -> Response[Health]:
        found = await probes.health()
        return Response(found, status_code=503 if found.status == "unhealthy" else 200)

    @get("/health", operation_id="GetHealth", summary="Health", responses=_UNHEALTHY, tags=_TAGS)
    async def health() -> Response[Health]:
        """Broker, database and what this build lacks; 503 when something that it needs is away."""
        return await answer()

    @get(
        "/health/ready",
        operation_id="GetReadiness",
        summary="Readiness",
        responses=_UNHEALTHY,
        tags=_TAGS,
    )
    async def ready() -> Response[Health]:
        """The same: 200 once requests can be answered."""
        return await answer()

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
