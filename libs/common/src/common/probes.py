"""Health of a process, over HTTP: is it alive, is it ready, what troubles it.

`/health` is flat because Grafana reads `status`, `service`, `database_connected` and `queue_connected` at its
top level. `/health/live` says that the event loop turns, `/health/ready` that work is being taken.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import msgspec
import prometheus_client
from faststream.asgi import AsgiResponse
from faststream.asgi.types import ASGIApp, Receive, Scope, Send
from faststream.rabbit import RabbitBroker, RabbitQueue
from sqlalchemy import select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from common.tables import SCHEMA_HEAD, schema_version

PROBE_TIMEOUT_S = 2.0
"""Longest wait for one check."""

Check = Callable[[], Awaitable[str | None]]
"""None when all is well, else what is wrong."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What `/health` answers."""

    status: Literal["healthy", "degraded", "unhealthy"]
    service: str
    database_connected: bool
    queue_connected: bool
    problems: dict[str, str]
    """Failed checks by name, with what is wrong."""


class Probes:
    """The checks of one service: `database` and `queue` decide readiness, `concerns` degrade."""

    def __init__(
        self, service: str, *, database: Check, queue: Check, concerns: Mapping[str, Check] | None = None
    ) -> None:
        self._service = service
        self._checks = {"database": database, "queue": queue, **(concerns or {})}

    async def health(self) -> Health:
        """Every check was run once, each for PROBE_TIMEOUT_S at most."""
        outcomes = await asyncio.gather(*(_outcome(check) for check in self._checks.values()))
        problems = {
            name: wrong for name, wrong in zip(self._checks, outcomes, strict=True) if wrong is not None
        }
        status: Literal["healthy", "degraded", "unhealthy"] = "degraded" if problems else "healthy"
        if problems.keys() & {"database", "queue"}:
            status = "unhealthy"
        return Health(
            status=status,
            service=self._service,
            database_connected="database" not in problems,
            queue_connected="queue" not in problems,
            problems=problems,
        )

    def routes(self) -> list[tuple[str, ASGIApp]]:
        """Health, liveness, readiness and Prometheus metrics as ASGI routes."""
        return [
            ("/health", self._answer_health),
            ("/health/ready", self._answer_health),
            ("/health/live", _answer_live),
            ("/metrics", prometheus_client.make_asgi_app()),
        ]

    async def _answer_health(self, scope: Scope, receive: Receive, send: Send) -> None:
        health = await self.health()
        await _json(health, 503 if health.status == "unhealthy" else 200)(scope, receive, send)


def database_check(engine: AsyncEngine) -> Check:
    """PostgreSQL answers and carries the schema that this code was written for."""

    async def check() -> str | None:
        try:
            async with engine.connect() as connection:
                revision = await connection.scalar(select(schema_version.c.version_num))
        except ProgrammingError:
            return f"the schema is missing, this build needs {SCHEMA_HEAD}: migrate"
        if revision != SCHEMA_HEAD:
            return f"the schema is at {revision}, this build needs {SCHEMA_HEAD}: migrate"
        return None

    return check


def queue_check(broker: RabbitBroker, *consumed: RabbitQueue) -> Check:
    """The broker answers and sees a consumer on each of `consumed`."""

    async def check() -> str | None:
        if not await broker.ping(timeout=PROBE_TIMEOUT_S / 2):
            return "no connection to the broker"
        for queue in consumed:
            declared = await (await broker.declare_queue(queue)).declare()
            if not declared.consumer_count:
                return f"nobody consumes {queue.name}"
        return None

    return check


async def _outcome(check: Check) -> str | None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return f"no answer within {PROBE_TIMEOUT_S} s"
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its finding
        # Answered to anybody who asks: the kind says enough, the text may name hosts and users.
        return f"does not answer: {type(error).__name__}"


async def _answer_live(scope: Scope, receive: Receive, send: Send) -> None:
    await _json({"status": "alive"}, 200)(scope, receive, send)


def _json(body: object, status: int) -> AsgiResponse:
    return AsgiResponse(msgspec.json.encode(body), status, headers={"content-type": "application/json"})
