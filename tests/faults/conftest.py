"""A fleet whose servers may be killed and whose lines to them can be made faulty."""

import asyncio
import os
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import asyncpg
import httpx
import pytest
import pytest_asyncio
from tests.faults.struck_fleet import ALIVE_WITHIN_S, Findings, StruckFleet

from sandbox import paper_run, stage
from sandbox.faults import BROKER, DATABASE, Ground
from sandbox.faulty_line import FaultyLine
from sandbox.fleet import Shape, running_fleet
from sandbox.platform import open_market
from sandbox.servers import FLOTILLA, private_servers
from sandbox.settings import MarketSettings
from sandbox.supervisor import Backoff

HOME = FLOTILLA.parent / os.environ.get("FLOTILLA_TEST_HOME", ".flotilla/test-servers").replace(
    "test-", "faults-"
)
FINDINGS = FLOTILLA / "reliability.json"
VALIDITY_S = 5.0


def pytest_collection_modifyitems(items):
    """One fleet serves all tests, so that all of them run on one event loop."""
    for item in items:
        if "tests/faults" in item.path.as_posix():
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def findings():
    """What the tests measured, kept as reliability.json once they are done."""
    found = Findings()
    yield found
    found.keep(FINDINGS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fleet(findings):
    """Two inference workers, two exit workers, trainer and API; every neighbour a process of its own."""
    async with AsyncExitStack() as stack:
        entered = stack.enter_context
        manager = private_servers(HOME, report=lambda _: None)
        servers = await asyncio.to_thread(entered, manager)
        began = datetime.now(UTC)
        run = await paper_run.begin(servers, HOME / "runs", began)
        await paper_run.prepare(run)
        lines = {
            BROKER: await stack.enter_async_context(FaultyLine.to(run.rabbitmq_url).laid()),
            DATABASE: await stack.enter_async_context(FaultyLine.to(run.database_url).laid()),
        }
        settings = MarketSettings(symbols=("BTCUSDT", "ETHUSDT"))
        log = []
        shape = Shape(
            strategies=("momentum",),
            inference_replicas=2,
            exit_replicas=2,
            neighbours_apart=True,
            restarts=Backoff(first_s=0.5, longest_s=1.0),
            service_changes={
                "RABBITMQ_URL": lines[BROKER].url(run.rabbitmq_url),
                "DATABASE_URL": lines[DATABASE].url(run.database_url),
            },
            changes={
                "SIGNAL_VALIDITY_SECONDS": str(VALIDITY_S),
                "EXIT_REISSUE_SECONDS": "6",
                "EXIT_COOLDOWN_SECONDS": "1",
                "MODEL_TRAINING_THREADS": "1",
            },
        )
        pool = await stack.enter_async_context(asyncpg.create_pool(run.database_url, min_size=0, max_size=4))
        running = await stack.enter_async_context(
            running_fleet(
                open_market(settings),
                settings,
                run,
                shape=shape,
                signals_per_minute=120,
                tell=lambda name, line: log.append((name, line)),
                began=began,
            )
        )
        api = await stack.enter_async_context(stage.api_client(running))
        ground = Ground(
            fleet=running,
            servers=servers,
            api=api,
            amqp_url=run.rabbitmq_url,
            database_url=run.database_url,
            poisons=[],
        )
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=ALIVE_WITHIN_S))
        struck = StruckFleet(ground, pool, client, lines, log)
        await struck.all_ready()
        await struck.trades()
        yield struck


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def nothing_is_broken_afterwards(fleet):
    """Whatever a test did, every promise held, and the next one begins with a fleet that is well."""
    yield
    for line in fleet.lines.values():
        line.mend()
    await fleet.all_ready()
    assert await fleet.broken_promises() == []
