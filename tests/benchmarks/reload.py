"""Goal 4: a version is activated under load: nothing is lost, little is late, the new one decides soon.

Signals on the wire name the version that decided. One symbol gets only vectors to buy on, so that the first
signal of the new version follows its first decision closely: ten vectors a second of it bound what is seen.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from pydantic import SecretStr
from tests.benchmarks.latency import Heard, listening
from tests.benchmarks.result import Result, at_most, percentile
from tests.benchmarks.stage import decisions, stage
from tests.benchmarks.vectors import symbols

from common import bus, topology
from common.settings import BusSettings
from sandbox.servers import Servers

SYMBOLS = 20
PER_S = 200
BUYS = 0.25
RELOADS = 3
WINDOW_S = 2.0
"""Before a reload and after its announcement, in which signals are compared."""
LEAD_S = 1.0


async def reloads(servers: Servers) -> AsyncIterator[Result]:
    """Three reloads of one strategy, one after the other, under a steady load."""
    async with stage(servers, size=SYMBOLS) as here:
        symbol = symbols(SYMBOLS)[0]
        engine = here.engine()
        broker = bus.create_broker(
            BusSettings(rabbitmq_url=SecretStr(here.where.amqp_url)), service="benchmark"
        )
        await broker.connect()
        try:
            versions = [await here.trained(symbol, engine) for _ in range(RELOADS)]
            with here.replica() as worker:
                await here.warm(worker)
                await here.cleared()
                count = int(PER_S * (LEAD_S + 2 * WINDOW_S * RELOADS))
                before, at = decisions(worker), []
                async with listening(here, topology.TRADING_SIGNALS.name) as heard:
                    feeding = here.feed(
                        topology.FEATURES_LIVE.name, count, per_s=PER_S, buys=BUYS, first_buys=1
                    )
                    await asyncio.sleep(LEAD_S)
                    for version in versions:
                        await asyncio.sleep(WINDOW_S)
                        at.append(time.time())
                        await here.activated(version, symbol, engine, broker)
                        await asyncio.sleep(WINDOW_S)
                    await feeding.finished()
                    await here.settled(worker)
                lost = count - (decisions(worker) - before)
        finally:
            await broker.stop()
            await engine.dispose()
    yield Result(
        goal=f"4 {RELOADS} reloads at {PER_S}/s: vectors lost",
        unit="vectors",
        rounds=[lost],
        target=at_most(0.0),
    )
    yield Result(
        goal="4 reload: feature to signal, p99, over that before",
        unit="ms",
        rounds=[_p99_ms(heard, each, each + WINDOW_S) for each in at],
        floors=[_p99_ms(heard, each - WINDOW_S, each) for each in at],
        target=at_most(1.5, of="ratio"),
    )
    yield Result(
        goal="4 reload: activation to the first signal by it",
        unit="s",
        rounds=[
            min(signal.at for signal in heard if signal.version == version) - began
            for version, began in zip(versions, at, strict=True)
        ],
        target=at_most(1.0),
    )


def _p99_ms(heard: Sequence[Heard], first: float, last: float) -> float:
    return percentile([each.seconds for each in heard if first <= each.at < last], 99) * 1000
