"""The simulated Position Manager: books the Order Manager's fills, tells what changed, answers over REST.

It waits for broker and database at start and rides through their restarts. It speaks the real one's
contract, traps included: it announces after fills only, and declares its queue when it first does.
"""

import asyncio
import hmac
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aio_pika
import asyncpg
import structlog
from aio_pika.abc import AbstractIncomingMessage
from litestar import Litestar, Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, FromQuery

from sandbox import position_book
from sandbox.broker_line import BrokerLine, acknowledge
from sandbox.core import positions
from sandbox.core.positions import Position
from sandbox.outages import DATABASE_IS_AWAY, TIMEOUT_S, until_database_answers

ORDER_EVENTS_QUEUE = "order-manager.order_events"
UPDATES_QUEUE = "position-manager.position_updated"

log = structlog.get_logger(__name__)

Answer = Response[dict[str, Any]]


def utcnow() -> datetime:
    """The wall clock, UTC-aware."""
    return datetime.now(UTC)


class PositionManager:
    """One running Position Manager: `await run()` until cancelled; `ready` is set while it consumes."""

    def __init__(self, *, database_url: str, amqp_url: str, clock: Callable[[], datetime] = utcnow) -> None:
        self.clock = clock
        self._line = BrokerLine(amqp_url, consumes=ORDER_EVENTS_QUEUE)
        self.ready = self._line.connected
        self._database_url = database_url
        self._pool: asyncpg.Pool | None = None
        self._updates: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def run(self) -> None:
        """Books and announces until cancelled; never returns by itself."""
        deliveries: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        async with (
            asyncpg.create_pool(
                self._database_url, min_size=0, max_size=4, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S
            ) as pool,
            asyncio.TaskGroup() as tasks,
        ):
            await until_database_answers(lambda: position_book.prepare(pool))
            self._pool = pool
            tasks.create_task(self._line.run(deliveries.put))
            tasks.create_task(self._book_for_ever(pool, deliveries))
            tasks.create_task(self._announce_for_ever())

    async def find(self, symbol: str, mode: str) -> Position | None:
        """The symbol's row, closed or not. Raises one of DATABASE_IS_AWAY."""
        return await position_book.find(self._database(), symbol, mode)

    async def all_positions(self) -> list[Position]:
        """Every row, closed or not. Raises one of DATABASE_IS_AWAY."""
        return await position_book.all_positions(self._database())

    def _database(self) -> asyncpg.Pool:
        if self._pool is None:
            raise asyncpg.InterfaceError("the tables are not there yet")
        return self._pool

    # One after the other: two fills of one symbol must not be booked side by side.
    async def _book_for_ever(
        self, pool: asyncpg.Pool, deliveries: asyncio.Queue[AbstractIncomingMessage]
    ) -> None:
        while True:
            message = await deliveries.get()
            executed = positions.executed(_decoded(message.body))
            if executed is not None:
                await self._book(pool, executed)
            await acknowledge(message)

    async def _book(self, pool: asyncpg.Pool, executed: positions.Executed) -> None:
        try:
            after = await until_database_answers(lambda: position_book.book(pool, executed, self.clock()))
        except asyncpg.PostgresError:
            log.exception("fill lost: it can not be stored", order_id=executed.order_id)
            return
        if after is None:
            log.debug("fill known already", order_id=executed.order_id)
            return
        log.info("position changed", symbol=after.symbol, size=str(after.size))
        self._updates.put_nowait(positions.position_updated(after, self.clock()))

    async def _announce_for_ever(self) -> None:
        while True:
            update = await self._updates.get()
            message = aio_pika.Message(
                json.dumps(update).encode(),
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                message_id=uuid.uuid4().hex,
            )
            await self._line.publish(message, UPDATES_QUEUE, declare=True)


def create_app(position_manager: PositionManager, *, api_key: str) -> Litestar:
    """The REST surface; every route but /health wants `api_key` in X-API-Key."""
    guarded = Router(
        path="/api/v1",
        guards=[require_key],
        route_handlers=[
            list_positions,
            one_position,
            snapshot,
            show_portfolio,
            show_exposure,
            show_pnl,
        ],
    )
    return Litestar(
        [health, guarded],
        dependencies={"manager": Provide(lambda: position_manager, sync_to_thread=False)},
        exception_handlers={
            WrongKey: _unauthorized,
            **dict.fromkeys(DATABASE_IS_AWAY, _internal_server_error),
        },
        state=State({"api_key": api_key}),
        openapi_config=None,
        logging_config=None,
    )


class WrongKey(Exception):
    """X-API-Key is missing or wrong."""


def require_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Lets the request pass if its X-API-Key is ours; raises WrongKey otherwise."""
    given = connection.headers.get("X-API-Key", "")
    if not hmac.compare_digest(given.encode(), connection.app.state.api_key.encode()):
        raise WrongKey


@get("/health")
async def health(manager: NamedDependency[PositionManager]) -> Answer:
    """Answers without a key, also while database or broker are away."""
    try:
        held = [each for each in await manager.all_positions() if each.size]
        database_connected = True
    except DATABASE_IS_AWAY:
        held, database_connected = [], False
    queue_connected = manager.ready.is_set()
    is_well = database_connected and queue_connected
    answer = {
        "status": "healthy" if is_well else "unhealthy",
        "service": "position-manager",
        "database_connected": database_connected,
        "queue_connected": queue_connected,
        "positions_count": len(held),
        "validation_statistics": dict.fromkeys(
            ("total_validations", "total_discrepancies", "total_fixes", "total_errors"), 0
        ),
    }
    return Response(answer, status_code=200 if is_well else 503)


@get("/positions")
async def list_positions(manager: NamedDependency[PositionManager]) -> Answer:
    """Every row, the closed ones too."""
    rows = [positions.shown(each, manager.clock()) for each in await manager.all_positions()]
    return Response({"positions": rows, "count": len(rows)})


@get("/positions/{asset:str}")
async def one_position(
    manager: NamedDependency[PositionManager], asset: FromPath[str], mode: FromQuery[str] = "one-way"
) -> Answer:
    """The asset's row, closed or not."""
    if mode not in {"one-way", "hedge"}:
        return _refused(400, "Invalid mode. Must be 'one-way' or 'hedge'")
    found = await manager.find(asset, mode)
    if found is None:
        return _refused(404, f"Position not found for asset: {asset}, mode: {mode}")
    return Response(positions.shown(found, manager.clock()))


@post("/positions/{asset:str}/snapshot")
async def snapshot(asset: FromPath[str]) -> Answer:  # noqa: ARG001 - the route names it
    """Fails, as it does today."""
    return _refused(500, "Failed to create position snapshot")


@get("/portfolio")
async def show_portfolio(manager: NamedDependency[PositionManager]) -> Answer:
    """Totals and each open position's share."""
    return Response(positions.portfolio(await manager.all_positions(), manager.clock()))


@get("/portfolio/exposure")
async def show_exposure(manager: NamedDependency[PositionManager]) -> Answer:
    """The total exposure, 0 while no current price is known."""
    return Response(positions.exposure(await manager.all_positions(), manager.clock()))


@get("/portfolio/pnl")
async def show_pnl(manager: NamedDependency[PositionManager]) -> Answer:
    """The total profits."""
    return Response(positions.pnl(await manager.all_positions(), manager.clock()))


def _refused(status: int, detail: str) -> Answer:
    return Response({"detail": detail}, status_code=status)


def _unauthorized(_: Request[Any, Any, Any], __: Exception) -> Answer:
    return _refused(401, "Invalid or missing API key")


def _internal_server_error(_: Request[Any, Any, Any], __: Exception) -> Answer:
    return _refused(500, "Internal server error")


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
