"""Replicas of inference compete on one queue: what holds over all of them while they come and go.

Three replicas as operators start them, 200 symbols, a feeder that now and then tells a symbol's vectors in
the wrong order. One more joins, one is asked to stop, one is killed in the middle of its work.
"""

import asyncio
import itertools
import signal
from collections import defaultdict
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aio_pika
import msgspec
from tests.integration.platform_rows import Platform, flat_position_manager
from tests.integration.test_service_processes import answer, process

from common import topology

SYMBOLS = [f"COIN{number}USDT" for number in range(200)]
PER_S = 160
SWAPPED_EVERY = 7
"""After one in so many vectors comes one of the same symbol that is older."""
RATE_PER_MINUTE, BURST = 600, 10
SIGNAL_VALIDITY_S = 5
PATIENCE_S = 100
LATE_S = 0.3
"""From the clock by which a claim is decided, under the fleet's lock, to that of its row, at most."""
CHANGES = {
    "FEATURE_STREAM_SILENCE_SECONDS": "3600",
    "MAX_ORDER_NOTIONAL": "100",
    "MODEL_SERVICE_MAX_POSITION_SIZE_RATIO": "1",
    "SIGNALS_PER_MINUTE_TRIP": "100000",
    "SIGNAL_GENERATION_BURST_ALLOWANCE": str(BURST),
    "SIGNAL_GENERATION_RATE_LIMIT": str(RATE_PER_MINUTE),
    "SIGNAL_IN_FLIGHT_TIMEOUT_SECONDS": "0.001",
    "SIGNAL_VALIDITY_SECONDS": str(SIGNAL_VALIDITY_S),
    "TRADING_STRATEGIES": "momentum",
    "TRADING_SYMBOLS": "",
    "WARMUP_RANDOMNESS_LEVEL": "0",
    "WARMUP_SIGNAL_FREQUENCY": "60000",
}
"""A warm-up that would buy on every vector, held by the fleet's rate limit alone."""
CLAIMED = """
    SELECT signal_id, strategy_id, symbol, feature_timestamp, state, reason, owner, created_at
    FROM signal_outbox ORDER BY created_at, feature_timestamp
"""


async def test_what_holds_over_the_fleet_holds_while_replicas_come_and_go(database_url, amqp_url, tmp_path):
    platform = Platform(database_url)
    await platform.open(available="900000000")
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(flat_position_manager())
        connection = await stack.enter_async_context(await aio_pika.connect(amqp_url))
        channel = await connection.channel()

        async def replica(name):
            directory = tmp_path / name
            directory.mkdir()
            child, url = await stack.enter_async_context(
                process(
                    "inference",
                    directory,
                    DATABASE_URL=database_url,
                    RABBITMQ_URL=amqp_url,
                    POSITION_MANAGER_PORT=str(manager),
                    **CHANGES,
                )
            )
            await answer(f"{url}/health/ready", 200)
            return child

        leaving, dying, _ = await asyncio.gather(*(replica(f"first-{number}") for number in range(3)))
        wire = await _heard(channel)
        feeding = asyncio.create_task(_feed(channel))
        await _claimed(platform, 20)
        await replica("joining")
        await _claimed(platform, 60)
        leaving.send_signal(signal.SIGTERM)
        await _claimed(platform, 100)
        dying.kill()
        await _claimed(platform, 140)
        feeding.cancel()
        await _settled(platform)

    claims = await platform.rows(CLAIMED)
    assert len({claim["owner"] for claim in claims}) >= 4  # the one that joined took part
    assert _several_for_one_vector(claims) == []
    assert _after_a_newer_one(claims) == []
    assert _beyond_the_rate([claim["created_at"] for claim in claims]) == []
    published = {claim["signal_id"] for claim in claims if claim["state"] == "published"}
    assert published <= set(wire)
    assert {signal_id: len(bodies) for signal_id, bodies in wire.items() if len(bodies) > 1} == {}
    recorded = await platform.rows("SELECT signal_id FROM trading_signals")
    assert {row["signal_id"] for row in recorded} == published


def test_the_checks_see_what_they_are_there_for():
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def claim(number, at_s, vector_s):
        return {
            "signal_id": UUID(int=number),
            "strategy_id": "momentum",
            "symbol": "BTCUSDT",
            "feature_timestamp": noon + timedelta(seconds=vector_s),
            "created_at": noon + timedelta(seconds=at_s),
        }

    assert _several_for_one_vector([claim(1, 1, 0), claim(2, 2, 0)]) == [UUID(int=2)]
    assert _after_a_newer_one([claim(1, 1, 1), claim(2, 2, 0)]) == [UUID(int=2)]
    exact = [noon] * BURST + [noon + timedelta(minutes=number / RATE_PER_MINUTE) for number in range(1, 50)]
    few = round(LATE_S * RATE_PER_MINUTE / 60)
    assert _beyond_the_rate(exact) == []
    assert _beyond_the_rate([*exact, *[exact[-1]] * (few + 1)]) == [exact[-1]]


async def _feed(channel):
    """Vectors of all symbols in turn at PER_S a second, until it is cancelled; all show a rising price."""
    loop = asyncio.get_running_loop()
    await channel.declare_queue(topology.FEATURES_LIVE.name, durable=True)
    began = loop.time()
    for number in itertools.count():
        await asyncio.sleep(max(0.0, began + number / PER_S - loop.time()))
        symbol, now = SYMBOLS[number % len(SYMBOLS)], datetime.now(UTC)
        await _publish(channel, symbol, now, 100 + number // len(SYMBOLS))
        if number % SWAPPED_EVERY == 0:
            await _publish(channel, symbol, now - timedelta(milliseconds=300), 100)


async def _publish(channel, symbol, at, price):
    vector = {
        "timestamp": at.isoformat(),
        "symbol": symbol,
        "features": {
            "mid_price": float(price),
            "spread_rel": 0.0001,
            "depth_bid_top5": 5.0,
            "returns_1s": 0.0,
            "returns_1m": 0.004 + at.microsecond / 1e9,
            "volatility_1m": 0.001,
        },
        "feature_registry_version": "1.0.0",
    }
    message = aio_pika.Message(msgspec.json.encode(vector), content_type="application/json")
    await channel.default_exchange.publish(message, topology.FEATURES_LIVE.name)


async def _claimed(platform, signals):
    async with asyncio.timeout(PATIENCE_S):
        while (await platform.rows("SELECT count(*) AS n FROM signal_outbox"))[0]["n"] < signals:
            await asyncio.sleep(0.2)


async def _settled(platform):
    """Every intent, those of the killed replica included, was published or has expired."""
    async with asyncio.timeout(PATIENCE_S):
        while await platform.rows("SELECT 1 FROM signal_outbox WHERE state = 'pending'"):
            await asyncio.sleep(0.2)


async def _heard(channel):
    """What goes over the wire from now on: the different bodies of each signal."""
    bodies = defaultdict(set)

    async def hear(message):
        bodies[UUID(message.message_id)].add(message.body)

    queue = await channel.declare_queue(topology.TRADING_SIGNALS.name, durable=True)
    await queue.consume(hear, no_ack=True)
    return bodies


def _several_for_one_vector(claims):
    first = {}
    for claim in claims:
        first.setdefault(
            (claim["strategy_id"], claim["symbol"], claim["feature_timestamp"]), claim["signal_id"]
        )
    return [claim["signal_id"] for claim in claims if claim["signal_id"] not in first.values()]


def _after_a_newer_one(claims):
    by_stream = defaultdict(list)
    for claim in claims:
        by_stream[claim["strategy_id"], claim["symbol"]].append(claim)
    return [
        later["signal_id"]
        for stream in by_stream.values()
        for earlier, later in itertools.pairwise(stream)
        if later["feature_timestamp"] < earlier["feature_timestamp"]
    ]


def _beyond_the_rate(times):
    """Moments at which a bucket of BURST, refilled at the rate, held no token, even LATE_S later."""
    per_s, tokens, before, found = RATE_PER_MINUTE / 60, float(BURST), None, []
    for at in times:
        if before is not None:
            tokens = min(float(BURST), tokens + (at - before).total_seconds() * per_s)
        before = at
        if tokens + LATE_S * per_s < 1 - 1e-6:
            found.append(at)
            continue
        tokens -= 1
    return found
