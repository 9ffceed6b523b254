"""A running fleet with simulated neighbours, and a real Chromium that looks at its console."""

import asyncio
import sys
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import aio_pika
import asyncpg
import httpx
import pytest
import pytest_asyncio
from playwright.async_api import async_playwright
from tests.console.operator_page import READ_ONLY_KEY, Operator

from sandbox import paper_run
from sandbox.chromium import chromium
from sandbox.fleet import Shape, running_fleet
from sandbox.platform import open_market
from sandbox.servers import FLOTILLA
from sandbox.settings import MarketSettings

STRATEGIES = ("momentum", "reversal")
SCREENSHOTS = FLOTILLA / "console-screenshots"


def pytest_collection_modifyitems(items):
    """One fleet and one browser serve all tests, so that all of them run on one event loop."""
    for item in items:
        if "tests/console" in item.path.as_posix():
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


class ConsoleFleet:
    """The fleet, with its database and its broker to look behind the page."""

    def __init__(self, fleet, database, run):
        self.url = fleet.addresses["api"]
        self.key = fleet.api_key
        self.stop = fleet.stop
        self.start = fleet.start
        self._database = database
        self._database_url = run.database_url
        self._rabbitmq_url = run.rabbitmq_url

    async def answers(self, patience_s=60):
        """The API answers."""
        async with asyncio.timeout(patience_s), httpx.AsyncClient() as client:
            while True:
                with suppress(httpx.TransportError):
                    if (await client.get(f"{self.url}/health/live")).is_success:
                        return
                await asyncio.sleep(0.1)

    async def ask(self, method, path, **body):
        """The API's answer to somebody else than the page."""
        async with httpx.AsyncClient(
            base_url=f"{self.url}/api/v1", headers={"X-API-Key": self.key}
        ) as client:
            answer = await client.request(method, path, json=body or None)
        assert answer.is_success, answer.text
        return answer.json()

    async def publish(self, queue, body):
        """The queue gets a message as it is."""
        connection = await aio_pika.connect(self._rabbitmq_url)
        async with connection:
            channel = await connection.channel()
            await channel.default_exchange.publish(aio_pika.Message(body), routing_key=queue)

    @asynccontextmanager
    async def database_away(self):
        """Nobody can connect to the fleet's database, and whoever of the API is connected no longer is."""
        elsewhere, _, name = self._database_url.rpartition("/")
        server = await asyncpg.connect(f"{elsewhere}/postgres")
        try:
            await server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            await server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = $1 AND application_name LIKE '%api%'",
                name,
            )
            yield
        finally:
            await server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await server.close()

    async def rows(self, query, *values):
        return [dict(row) for row in await self._database.fetch(query, *values)]

    async def until(self, query, *values, patience_s=90):
        """The rows of `query`, once it has any."""
        async with asyncio.timeout(patience_s):
            while not (rows := await self.rows(query, *values)):
                await asyncio.sleep(0.1)
        return rows


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fleet(servers):
    """Two strategies that warm up; whether a version is activated is left to the operator."""
    began = datetime.now(UTC)
    home = FLOTILLA / "console-runs"
    run = await paper_run.begin(servers, home, began)
    await paper_run.prepare(run)
    settings = MarketSettings()
    shape = Shape(
        strategies=STRATEGIES,
        changes={"MODEL_PROMOTION_POLICY": "manual", "MODEL_SERVICE_READONLY_API_KEY": READ_ONLY_KEY},
    )
    async with (
        asyncpg.create_pool(run.database_url, min_size=1, max_size=2) as database,
        running_fleet(
            open_market(settings),
            settings,
            run,
            shape=shape,
            signals_per_minute=30,
            tell=lambda *_: None,
            began=began,
        ) as running,
    ):
        ready = ConsoleFleet(running, database, run)
        await ready.answers()
        await ready.until("SELECT 1 FROM trading_signals LIMIT 1")
        yield ready


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(pytestconfig):
    """Chromium: the machine's own, or Debian's."""
    found = await asyncio.to_thread(chromium, FLOTILLA / "packages", _say(pytestconfig))
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=str(found.program), env=found.environment, args=["--disable-gpu"]
        )
        yield running
        await running.close()


@pytest.fixture
def looking(browser, fleet):
    """Opens the console in a window of its own: `async with looking(width=390) as operator`."""

    @asynccontextmanager
    async def look(*, width=1280, height=900, scheme="light", key=fleet.key, signed_in=True):
        context = await browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        operator = Operator(await context.new_page(), fleet.url, SCREENSHOTS)
        await operator.open()
        if signed_in:
            await operator.sign_in(key)
        yield operator
        await context.close()

    return look


def _say(pytestconfig):
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(line):
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"\nflotilla: {line}\n")

    return say
