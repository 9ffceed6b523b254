"""The catalogue of faults: what can be broken in a running fleet, how, and how it is healed.

A fault is a block: its target is broken inside and healed after it, also when an error ends the block.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aio_pika
import asyncpg
import httpx
import msgspec

from common import topology
from sandbox.core.audit.record import Poison
from sandbox.errors import NotAnswering
from sandbox.fault_plan import Kind
from sandbox.fleet import Fleet
from sandbox.outages import BROKER_IS_AWAY, RETRY_S, TIMEOUT_S
from sandbox.postgres import PrivatePostgres
from sandbox.rabbitmq import PrivateRabbitmq
from sandbox.servers import Servers

BROKER, DATABASE, POISONED = "broker", "database", "queue "
ACTOR = "chaos"
_CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
STATE_PATIENCE_S = 60.0
"""How long the API may be away before a wish to it counts as refused."""

# What no consumer can use, each for a reason of its own; every one carries its number.
_POISONS = (
    '{"poison": %d',
    '[%d, "neither vector nor event"]',
    '{"poison": %d, "timestamp": "yesterday", "symbol": "BTCUSDT", "features": {"mid_price": "NaN"}}',
    '{"poison": %d, "symbol": "\'; DROP TABLE orders; --", "features": []}',
    '{"poison": %d, "symbol": "../../etc/passwd", "dataset_id": 7, "asset": null, "size": {}}',
    '"\\ud800 %d"',
)


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What faults strike."""

    fleet: Fleet
    servers: Servers
    api: httpx.AsyncClient
    amqp_url: str
    database_url: str
    poisons: list[Poison]
    """Those that the broker took."""

    def broker(self) -> PrivateRabbitmq:
        """The private broker."""
        assert self.servers.rabbitmq is not None
        return self.servers.rabbitmq

    def database(self) -> PrivatePostgres:
        """The private database server."""
        assert self.servers.postgres is not None
        return self.servers.postgres


Fault = Callable[[Ground, str], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def process_killed(ground: Ground, name: str) -> AsyncIterator[None]:
    """SIGKILL; the supervisor starts the process again."""
    _signal(ground.fleet.pid(name), signal.SIGKILL)
    yield


@asynccontextmanager
async def process_terminated(ground: Ground, name: str) -> AsyncIterator[None]:
    """SIGTERM, as a rolling update sends it; the supervisor starts the process again."""
    _signal(ground.fleet.pid(name), signal.SIGTERM)
    yield


@asynccontextmanager
async def process_frozen(ground: Ground, name: str) -> AsyncIterator[None]:
    """SIGSTOP, then SIGCONT: a process that comes back and knows nothing of the time between."""
    pid = ground.fleet.pid(name)
    with _frozen([pid] if pid else []):
        yield


@asynccontextmanager
async def neighbour_stopped(ground: Ground, name: str) -> AsyncIterator[None]:
    """A neighbour is away, in good order, and comes back."""
    await ground.fleet.stop(name)
    try:
        yield
    finally:
        await ground.fleet.start(name)


@asynccontextmanager
async def server_killed(ground: Ground, name: str) -> AsyncIterator[None]:
    """Broker or database die at once and are started again on the same port."""
    server = ground.broker() if name == BROKER else ground.database()
    address = server.url
    await asyncio.to_thread(server.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(server.launch)
        await asyncio.to_thread(server.wait_ready)
    if server.url != address:
        raise NotAnswering(f"the {server.name} came back at another port: nobody will find it")


@asynccontextmanager
async def server_frozen(ground: Ground, name: str) -> AsyncIterator[None]:
    """Broker or database hold all their connections open and say nothing."""
    pid = ground.broker().pid if name == BROKER else ground.database().pid
    with _frozen([pid, *_descendants(pid)]):
        yield


@asynccontextmanager
async def connections_cut(ground: Ground, name: str) -> AsyncIterator[None]:
    """Every connection to broker or database is torn; the server itself is well."""
    if name == BROKER:
        await asyncio.to_thread(ground.broker().cut_connections)
    else:
        connection = await asyncpg.connect(ground.database_url, timeout=TIMEOUT_S)
        try:
            await connection.execute(_CUT)
        finally:
            await connection.close()
    yield


@asynccontextmanager
async def queue_poisoned(ground: Ground, name: str) -> AsyncIterator[None]:
    """A message that cannot be used lies in a consumed queue; kept once the broker confirmed it."""
    number = len(ground.poisons)
    body = _POISONS[number % len(_POISONS)] % number
    queue = name.removeprefix(POISONED)
    with suppress(*BROKER_IS_AWAY):
        async with await aio_pika.connect(ground.amqp_url, timeout=TIMEOUT_S) as connection:
            channel = await connection.channel()
            message = aio_pika.Message(body.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key=queue, timeout=TIMEOUT_S)
        ground.poisons.append(Poison(queue=queue, body=body))
    yield


@asynccontextmanager
async def state_halted(ground: Ground, scope: str) -> AsyncIterator[None]:
    """An operator halts the scope, and releases it again."""
    async with _state(ground, scope, "HALTED"):
        yield


@asynccontextmanager
async def state_reducing(ground: Ground, scope: str) -> AsyncIterator[None]:
    """An operator lets the scope only reduce, and releases it again."""
    async with _state(ground, scope, "REDUCING"):
        yield


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        process_killed,
        process_terminated,
        process_frozen,
        neighbour_stopped,
        server_killed,
        server_frozen,
        connections_cut,
        queue_poisoned,
        state_halted,
        state_reducing,
    )
}


def kinds(processes: Sequence[str], strategies: Sequence[str], *, longest_freeze_s: float) -> list[Kind]:
    """What can be done to a fleet of these processes that trades these strategies."""
    services = [name for name in processes if not name.startswith("sandbox-")]
    scopes = ("fleet", *(f"strategy:{each}" for each in strategies))
    poisoned = (topology.FEATURES_LIVE, topology.POSITION_UPDATED, topology.DATASET_READY)
    freeze_s = (min(5.0, longest_freeze_s), longest_freeze_s)
    by_service = {
        service: _of(services, service) for service in ("api", "inference", "exit_strategy", "trainer")
    }
    return [
        *(_named(process_killed, of, service, recovers_s=10) for service, of in by_service.items()),
        *(_named(process_terminated, of, service, recovers_s=10) for service, of in by_service.items()),
        *(
            _named(process_frozen, of, service, holds_s=freeze_s, recovers_s=5)
            for service, of in by_service.items()
        ),
        *(
            _named(neighbour_stopped, (name,), name, holds_s=(2, 8), recovers_s=10)
            for name in processes
            if name.startswith("sandbox-")
        ),
        *(
            _named(fault, (server,), server, holds_s=holds_s, recovers_s=10)
            for server in (BROKER, DATABASE)
            for fault, holds_s in (
                (server_killed, (0.5, 3.0)),
                (server_frozen, (3.0, 6.0)),
                (connections_cut, (0.0, 0.0)),
            )
        ),
        *(_named(queue_poisoned, (f"{POISONED}{queue.name}",), queue.name) for queue in poisoned),
        _named(state_halted, scopes, "", holds_s=(3, 8), recovers_s=1),
        _named(state_reducing, scopes, "", holds_s=(3, 8), recovers_s=1),
    ]


def fault_of(kind: str) -> Fault:
    """What the kind of that name does."""
    return FAULTS[kind.partition(" ")[0]]


def _named(
    fault: Fault,
    targets: tuple[str, ...],
    of: str,
    *,
    holds_s: tuple[float, float] = (0.0, 0.0),
    recovers_s: float = 0.0,
) -> Kind:
    name = f"{fault.__name__} {of}".strip()
    return Kind(name=name, targets=targets, holds_s=holds_s, recovers_s=recovers_s)


def _of(names: Sequence[str], service: str) -> tuple[str, ...]:
    return tuple(name for name in names if name.partition("-")[0] == service)


def _signal(pid: int | None, number: int) -> None:
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def _frozen(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            _signal(pid, signal.SIGCONT)


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in map(int, children) for each in (child, *_descendants(child))]


@asynccontextmanager
async def _state(ground: Ground, scope: str, state: str) -> AsyncIterator[None]:
    await _set_state(ground, scope, state)
    try:
        yield
    finally:
        await _set_state(ground, scope, "ACTIVE")


async def _set_state(ground: Ground, scope: str, state: str) -> None:
    wanted = json.dumps({"state": state, "actor": ACTOR, "reason": "a fault is tried"})
    async with asyncio.timeout(STATE_PATIENCE_S):
        while True:
            with suppress(httpx.HTTPError):
                answer = await ground.api.put(
                    f"/api/v1/trading-states/{scope}",
                    content=wanted,
                    headers={"Content-Type": "application/json"},
                )
                if answer.is_success:
                    return
            await asyncio.sleep(RETRY_S)
