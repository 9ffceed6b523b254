"""Who publishes vectors, in a process of its own so that what is measured does not share its processor time.

`python -m tests.benchmarks.feeder FEED`, FEED the JSON of a `Feed`. The load is open: a vector is published
when its time has come, however far behind the reader is.
"""

import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import aio_pika
import msgspec
from tests.benchmarks.vectors import Rows, Stream, symbols

BURST = 500
"""Published together, and confirmed together, where no rate is given."""
TICK_S = 0.002
LIMIT_S = 120.0


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """What to publish where."""

    amqp_url: str
    queue: str
    rows: str
    """File of the rows."""
    symbols: int
    count: int
    per_s: float = 0.0
    """0: at once."""
    buys: float = 0.0
    """Share of the vectors that the model buys on."""
    first_buys: int = 0
    """So many symbols get only such vectors."""


class Fed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    began: float
    """Unix time."""
    ended: float
    late_s: float
    """The farthest that the feeder itself was behind its plan."""


class Feeding:
    """A feeder that runs."""

    def __init__(self, feed: Feed) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.feeder", msgspec.json.encode(feed).decode()]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    async def finished(self) -> Fed:
        """Everything is on the broker. Raises RuntimeError where it did not get there."""
        try:
            output, _ = await asyncio.to_thread(self._process.communicate, timeout=LIMIT_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
        if self._process.returncode:
            raise RuntimeError(f"the feeder ended with {self._process.returncode}")
        return msgspec.json.decode(output, type=Fed)


async def feed(asked: Feed, stream: Stream) -> Fed:
    """As much of the stream as was asked for is published; with a rate, evenly over the time."""
    connection = await aio_pika.connect(asked.amqp_url)
    async with connection:
        channel = await connection.channel(publisher_confirms=not asked.per_s)
        exchange = channel.default_exchange

        async def publish() -> None:
            message = aio_pika.Message(
                stream.next(datetime.now(UTC)),
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await exchange.publish(message, routing_key=asked.queue, mandatory=False)

        began, late_s = time.time(), 0.0
        if not asked.per_s:
            for first in range(0, asked.count, BURST):
                await asyncio.gather(*(publish() for _ in range(min(BURST, asked.count - first))))
        else:
            number, start = 0, time.perf_counter()
            while number < asked.count:
                passed_s = time.perf_counter() - start
                due = min(int(passed_s * asked.per_s) + 1, asked.count)
                late_s = max(late_s, passed_s - number / asked.per_s)
                for _ in range(due - number):
                    await publish()
                number = due
                await asyncio.sleep(TICK_S)
        return Fed(began=began, ended=time.time(), late_s=late_s)


def main() -> None:
    """Feeds, and prints what came of it."""
    asked = msgspec.json.decode(sys.argv[1], type=Feed)
    rows = msgspec.json.decode(Path(asked.rows).read_bytes(), type=Rows)
    stream = Stream(rows, symbols(asked.symbols), buys=asked.buys, first_buys=asked.first_buys)
    fed = asyncio.run(feed(asked, stream))
    sys.stdout.write(msgspec.json.encode(fed).decode())


if __name__ == "__main__":
    main()
