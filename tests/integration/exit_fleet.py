"""Exit workers on a real broker and database, with neighbours that stand where a test puts them."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import aio_pika
import httpx
import msgspec
import uvicorn
from pydantic import SecretStr
from tests.integration.fake_position_manager import FakePositionManager
from tests.integration.platform_rows import Platform

from common import bus, topology
from common.core.exits.position import Price
from common.database import create_engine
from common.feature_service import FeatureService
from common.messages import PriceSeen, TradingSignal
from common.position_manager import PositionManager
from common.signal_outbox import SignalOutbox
from exit_strategy import handlers
from exit_strategy.app import blind_stop, policy_of
from exit_strategy.outage import Outage
from exit_strategy.prices import AskedPrices
from exit_strategy.settings import Settings
from exit_strategy.spool import MAX_BYTES, Spool
from exit_strategy.sweep import Sweep
from exit_strategy.worker import Worker
from sandbox.ports import free_port

PATIENCE_S = 20


def announced(value):
    """A price of this moment, as inference announces it."""
    return Price(value=Decimal(value), seen_at=datetime.now(UTC), source="price_seen")


class FakeFeatureService:
    """A Feature Service whose market stands where the test puts it; None: it answers nothing."""

    def __init__(self):
        self.price = None

    def __call__(self, request):
        if self.price is None:
            raise httpx.ReadTimeout("deaf during a build")
        vector = {
            "timestamp": datetime.now(UTC).isoformat(),
            "symbol": request.url.params["symbol"],
            "features": {"mid_price": self.price},
            "feature_registry_version": "1.0.0",
        }
        return httpx.Response(200, json=vector)


class Peer:
    """One exit worker of the fleet, with its hand-made neighbours."""

    def __init__(self, worker, sweep, outbox, broker, blind):
        self.worker = worker
        self.sweep = sweep
        self.outbox = outbox
        self.broker = broker
        self.blind = blind


class Fleet:
    """Everything that one test needs: neighbours, tables, the wire."""

    def __init__(self, database_url, amqp_url, home):
        self.home = home
        self.positions = FakePositionManager()
        self.features = FakeFeatureService()
        self.platform = Platform(database_url)
        self.database_url = database_url
        self.amqp_url = amqp_url

    @asynccontextmanager
    async def connected(self):
        """The test's own channel is open, to publish what the platform publishes and to read signals."""
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            self.channel = await connection.channel()
            yield

    def settings(self, **changes):
        return Settings(
            **{
                "database_url": SecretStr(self.database_url),
                "rabbitmq_url": SecretStr(self.amqp_url),
                "database_statement_timeout_ms": 2000,
                "exit_spool_path": self.home / "exits.jsonl",
                **changes,
            }
        )

    @asynccontextmanager
    async def peer(self, name="exit-1", *, is_started=True, spool_bytes=MAX_BYTES, **changes):
        settings = self.settings(**changes)
        engine = create_engine(settings, application=name)
        broker = bus.create_broker(settings, service=name)
        outbox = SignalOutbox(engine, broker, owner=name)
        manager = PositionManager(settings, httpx.ASGITransport(app=self.positions))
        features = FeatureService(settings, httpx.MockTransport(self.features))
        policy = policy_of(settings)
        prices = AskedPrices(features, manager, policy.price_max_age)
        spool = Spool(settings.exit_spool_path, spool_bytes)
        probe = create_engine(settings, application=f"{name}-probe")
        aids = {
            "prices": prices,
            "outage": Outage(probe, spool, owner=name),
            "blind": blind_stop(policy, broker, manager, spool),
        }
        worker = Worker(policy, engine, outbox, manager, **aids)
        silence = timedelta(seconds=settings.exit_silence_seconds)
        sweep = Sweep(worker, engine, broker, manager, **aids, silence=silence)
        handlers.subscribe(broker, worker, sweep)
        await bus.connect(broker, topology.POSITION_UPDATED, topology.TRADING_SIGNALS)
        if is_started:
            await sweep.start()
        try:
            yield Peer(worker, sweep, outbox, broker, aids["blind"])
        finally:
            await broker.stop()
            await worker.aclose()
            await manager.aclose()
            await features.aclose()
            await probe.dispose()
            await engine.dispose()

    async def updated(self, symbol, size, entry="100"):
        """The position changed: the platform shows it and says so."""
        body = json.dumps(self.positions.book(symbol, size, entry)).encode()
        await self.channel.default_exchange.publish(
            aio_pika.Message(body), routing_key=topology.POSITION_UPDATED.name
        )
        await self.until(
            "SELECT 1 FROM position_lifecycles WHERE symbol = $1 AND closed_at IS NULL AND size = $2",
            symbol,
            Decimal(size),
        )

    async def closed(self, symbol):
        body = json.dumps(self.positions.book(symbol, "0E-8", None)).encode()
        await self.channel.default_exchange.publish(
            aio_pika.Message(body), routing_key=topology.POSITION_UPDATED.name
        )

    async def seen(self, peer, symbol, price, age_s=0.0):
        """Inference saw a price."""
        at = datetime.now(UTC) - timedelta(seconds=age_s)
        seen = PriceSeen(symbol=symbol, price=Decimal(price), timestamp=at)
        await bus.announce(peer.broker, topology.PRICE_SEEN, seen)
        return at

    async def seen_until(self, is_over, symbol, price):
        """Inference sees the price again and again."""
        broker = bus.create_broker(self.settings(), service="test")
        await broker.connect()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not is_over():
                    seen = PriceSeen(symbol=symbol, price=Decimal(price), timestamp=datetime.now(UTC))
                    await bus.announce(broker, topology.PRICE_SEEN, seen)
                    await asyncio.sleep(0.1)
        finally:
            await broker.stop()

    async def until(self, query, *values):
        async with asyncio.timeout(PATIENCE_S):
            while not (rows := await self.platform.rows(query, *values)):
                await asyncio.sleep(0.02)
        return rows

    async def lifecycle(self, symbol="BTCUSDT"):
        [row] = await self.platform.rows(
            "SELECT * FROM position_lifecycles WHERE symbol = $1 AND closed_at IS NULL", symbol
        )
        return row

    async def signal(self):
        """The next signal on the platform's queue, as its message and as it is read."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await self.signals()):
                await asyncio.sleep(0.02)
        [one] = found
        return one

    async def signals(self):
        queue = await self.channel.declare_queue(topology.TRADING_SIGNALS.name, durable=True)
        found = []
        while message := await queue.get(fail=False, no_ack=True):
            found.append((message, msgspec.json.decode(message.body, type=TradingSignal)))
        return found

    async def answered(self, signal, status, filled="0"):
        """The Order Manager's answer stands in `orders`."""
        await self.platform.execute(
            "INSERT INTO orders (id, order_id, signal_id, asset, side, order_type, quantity, status,"
            " filled_quantity, is_dry_run) VALUES ($1, $2, $3, $4, $5, 'Market', $6, $7, $8, false)",
            uuid4(),
            f"EX-{uuid4()}",
            signal.signal_id,
            signal.symbol,
            "Buy" if signal.signal_type == "buy" else "SELL",
            Decimal(signal.metadata["size"]),
            status,
            Decimal(filled),
        )

    async def time_passes(self, seconds):
        """Everything that was issued was issued so much earlier."""
        await self.platform.execute(
            "UPDATE signal_outbox SET created_at = created_at - $1::interval,"
            " published_at = published_at - $1::interval, valid_until = valid_until - $1::interval,"
            " lease_until = lease_until - $1::interval",
            timedelta(seconds=seconds),
        )


@asynccontextmanager
async def exit_fleet(database_url, amqp_url, home):
    """A fleet with nothing open; files of its workers lie in `home`."""
    one = Fleet(database_url, amqp_url, home)
    async with one.connected():
        await one.platform.open()
        yield one


@asynccontextmanager
async def served(application):
    """The application over real HTTP, for a process of its own; yields its port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    try:
        yield port
    finally:
        server.should_exit = True
        await serving


async def ready(port):
    """The worker whose health is at `port` is ready."""
    async with httpx.AsyncClient() as client, asyncio.timeout(60):
        while not await _answers(client, f"http://127.0.0.1:{port}/health/ready"):
            await asyncio.sleep(0.1)


async def _answers(client, url):
    try:
        return (await client.get(url, timeout=2)).status_code == 200
    except httpx.HTTPError:
        return False


@asynccontextmanager
async def exit_process(fleet, port, *argv, **environment):
    """A worker in a process of its own, killed at the end; `port` is the Position Manager's.

    `argv`: the step of an exit at which it ends; none: it goes on.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("dying_exit_strategy.py")),
        *argv,
        env={
            **os.environ,
            "DATABASE_URL": fleet.database_url,
            "RABBITMQ_URL": fleet.amqp_url,
            "POSITION_MANAGER_PORT": str(port),
            "FEATURE_SERVICE_PORT": str(free_port()),
            "EXIT_STRATEGY_PORT": str(free_port()),
            "EXIT_SPOOL_PATH": str(fleet.home / "exits.jsonl"),
            **environment,
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
