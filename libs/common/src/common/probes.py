"""Health of a process, over HTTP: is it alive, is it ready, what troubles it.

`/health` is flat because Grafana reads `status`, `service`, `database_connected` and `queue_connected` at its
top level. `/health/live` says that the event loop turns, `/health/ready` that work is being taken: the broker
sees this process's own consumers, the database answers with the schema of this build, and what else the
service needs once is there.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, cast

import msgspec
import prometheus_client
from aio_pika import RobustQueue
from faststream.asgi import AsgiResponse
from faststream.asgi.types import ASGIApp, Receive, Scope, Send
from faststream.rabbit import RabbitBroker, RabbitQueue
from faststream.rabbit.subscriber import RabbitSubscriber
from sqlalchemy import select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from common import bus
from common.tables import SCHEMA_HEAD, schema_version

PROBE_TIMEOUT_S = 2.0
"""Longest wait for one check."""

TASKS = prometheus_client.Gauge(
    "flotilla_asyncio_tasks", "Tasks of the process's event loop: a number that only rises is a leak."
)

Check = Callable[[], Awaitable[str | None]]
"""None when all is well, else what is wrong."""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one check came out."""

    state: Literal["ok", "failed"]
    """Whether all was well."""
    latency_ms: float
    """How long it took, in milliseconds."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What `/health` answers."""

    status: Literal["healthy", "degraded", "unhealthy"]
    """unhealthy: database or broker is away, nothing works; degraded: `problems` says what does not."""
    service: str
    """Which service answers."""
    database_connected: bool
    """PostgreSQL answers with the schema of this build."""
    queue_connected: bool
    """The broker answers and knows this process's consumers."""
    problems: dict[str, str]
    """Failed checks by name, with what is wrong."""
    checks: dict[str, CheckResult]
    """Every check by name."""


class Probes:
    """The checks of one service: `database`, `queue` and `needs` decide readiness, `concerns` degrade.

    `needs` are what a start has to do once; while one fails, the service is degraded and not ready.
    """

    def __init__(
        self,
        service: str,
        *,
        database: Check,
        queue: Check,
        needs: Mapping[str, Check] | None = None,
        concerns: Mapping[str, Check] | None = None,
    ) -> None:
        self._service = service
        self._needed = {"database", "queue", *(needs or {})}
        self._checks = {"database": database, "queue": queue, **(needs or {}), **(concerns or {})}

    async def health(self) -> Health:
        """Every check was run once, each for PROBE_TIMEOUT_S at most."""
        outcomes = await asyncio.gather(*(_outcome(check) for check in self._checks.values()))
        found = dict(zip(self._checks, outcomes, strict=True))
        problems = {name: wrong for name, (wrong, _) in found.items() if wrong is not None}
        status: Literal["healthy", "degraded", "unhealthy"] = "degraded" if problems else "healthy"
        if problems.keys() & {"database", "queue"}:
            status = "unhealthy"
        return Health(
            status=status,
            service=self._service,
            database_connected="database" not in problems,
            queue_connected="queue" not in problems,
            problems=problems,
            checks={
                name: CheckResult(state="failed" if wrong else "ok", latency_ms=latency_ms)
                for name, (wrong, latency_ms) in found.items()
            },
        )

    def is_ready(self, health: Health) -> bool:
        """Whether a service of this health takes work."""
        return not health.problems.keys() & self._needed

    def routes(self) -> list[tuple[str, ASGIApp]]:
        """Health, liveness, readiness and Prometheus metrics as ASGI routes."""
        return [
            ("/health", self._answer_health),
            ("/health/ready", self._answer_ready),
            ("/health/live", _answer_live),
            ("/metrics", _answer_metrics),
        ]

    async def _answer_health(self, scope: Scope, receive: Receive, send: Send) -> None:
        health = await self.health()
        await _json(health, 503 if health.status == "unhealthy" else 200)(scope, receive, send)

    async def _answer_ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        health = await self.health()
        await _json(health, 200 if self.is_ready(health) else 503)(scope, receive, send)


def database_check(engine: AsyncEngine) -> Check:
    """PostgreSQL answers and carries the schema that this code was written for, or a newer one.

    A newer schema takes nothing away from the builds of the release before: during an upgrade they work on.
    """

    async def check() -> str | None:
        try:
            async with engine.connect() as connection:
                revision = await connection.scalar(select(schema_version.c.version_num))
        except ProgrammingError:
            return f"the schema is missing, this build needs {SCHEMA_HEAD}: migrate"
        if revision is None or revision < SCHEMA_HEAD:
            return f"the schema is at {revision}, this build needs {SCHEMA_HEAD}: migrate"
        return None

    return check


class Consumer(Protocol):
    """Consumes one queue beside the broker's subscribers."""

    @property
    def queue(self) -> RabbitQueue:
        """What it consumes."""

    async def start(self) -> None:
        """It consumes; raises what the drivers raise, and may then be called again."""

    async def stop(self) -> None:
        """It consumes no more, and has finished what it began."""

    async def is_consuming(self) -> bool:
        """Whether the broker still gives this process messages."""


def queue_check(broker: RabbitBroker, consumers: Sequence[Consumer] = ()) -> Check:
    """The broker answers, and sees this process consume every queue that it subscribed to."""

    async def check() -> str | None:
        if problem := await _connection_problem(broker):
            return problem
        for subscriber in broker.subscribers:
            if problem := await _consumer_problem(broker, cast(RabbitSubscriber, subscriber)):
                return problem
        for consumer in consumers:
            if not await consumer.is_consuming():
                return _not_consuming(consumer.queue)
            if problem := await _unconsumed(await broker.declare_queue(consumer.queue)):
                return problem
        return None

    return check


def consumer_check(broker: RabbitBroker, queue: RabbitQueue) -> Check:
    """The broker answers and sees somebody, whoever it is, consume `queue`."""

    async def check() -> str | None:
        return await _connection_problem(broker) or await _unconsumed(await broker.declare_queue(queue))

    return check


async def _connection_problem(broker: RabbitBroker) -> str | None:
    return None if await broker.ping(timeout=PROBE_TIMEOUT_S / 2) else "no connection to the broker"


# A peer's consumer counts for the broker as ours does, so ours is looked up by its tag: the channel forgets
# that when the broker cancels the consumer because its queue went away.
async def _consumer_problem(broker: RabbitBroker, subscriber: RabbitSubscriber) -> str | None:
    queue = await broker.declare_queue(subscriber.queue)
    channel: Any = await queue.channel.get_underlay_channel()
    if subscriber._consumer_tag not in channel.consumers:
        return _not_consuming(subscriber.queue)
    return await _unconsumed(queue)


def _not_consuming(queue: RabbitQueue) -> str:
    return f"this process does not consume {queue.name}"


async def _unconsumed(queue: RobustQueue) -> str | None:
    declared = await bus.unbroken(queue.declare())
    return None if declared.consumer_count else f"nobody consumes {queue.name}"


# What is wrong, and how long it took to find out, in milliseconds.
async def _outcome(check: Check) -> tuple[str | None, float]:
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            problem = await check()
    except TimeoutError:
        problem = f"no answer within {PROBE_TIMEOUT_S} s"
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its finding
        # Answered to anybody who asks: the kind says enough, the text may name hosts and users.
        problem = f"does not answer: {type(error).__name__}"
    return problem, round((time.perf_counter() - begun) * 1000, 3)


# Beside the event loop: a page of a hundred strategies takes longer to write than a vector may wait.
async def _answer_metrics(scope: Scope, receive: Receive, send: Send) -> None:
    TASKS.set(len(asyncio.all_tasks()))
    page = await asyncio.to_thread(_metrics, scope)
    await page(scope, receive, send)


_write_metrics = prometheus_client.make_wsgi_app()


def _metrics(scope: Scope) -> AsgiResponse:
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    asked = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": scope["path"],
        "QUERY_STRING": scope["query_string"].decode(),
        "HTTP_ACCEPT": headers.get("accept", ""),
        "HTTP_ACCEPT_ENCODING": headers.get("accept-encoding", ""),
    }
    answered: dict[str, str] = {}
    body = b"".join(_write_metrics(asked, lambda _, named: answered.update(named)))
    return AsgiResponse(body, 200, headers=answered)


async def _answer_live(scope: Scope, receive: Receive, send: Send) -> None:
    await _json({"status": "alive"}, 200)(scope, receive, send)


def _json(body: object, status: int) -> AsgiResponse:
    return AsgiResponse(msgspec.json.encode(body), status, headers={"content-type": "application/json"})
