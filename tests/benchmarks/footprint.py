"""Goal 6: what an inference replica takes to start and to stay: seconds to ready, and resident memory.

Ready means that its model is loaded and proven, and that it consumes. Memory is read after vectors have been
decided on; whether it stays flat is for `make soak` to say.
"""

import time
from collections.abc import AsyncIterator

from tests.benchmarks.result import Result, at_most
from tests.benchmarks.stage import stage

from common import topology
from sandbox.servers import Servers

ROUNDS = 5
VECTORS = 500


async def replica(servers: Servers) -> AsyncIterator[Result]:
    """One strategy, one model of 300 trees."""
    starts, memory = await measured(servers)
    yield Result(goal="6 replica: start to ready", unit="s", rounds=starts, target=at_most(1.5))
    yield Result(goal="6 replica: resident", unit="MB", rounds=memory, target=at_most(120.0))


async def measured(servers: Servers) -> tuple[list[float], list[float]]:
    """Of ROUNDS replicas, one after the other: seconds to ready, and memory in MB."""
    starts: list[float] = []
    memory: list[float] = []
    async with stage(servers, size=1) as here:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            with here.replica() as worker:
                starts.append(time.perf_counter() - began)
                await here.feed(topology.FEATURES_LIVE.name, VECTORS, buys=0.01).finished()
                await here.settled(worker)
                memory.append(worker.rss_mb())
            await here.cleared()
    return starts, memory
