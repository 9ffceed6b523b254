"""The floor of everything on the bus: consume, decode, encode, publish, acknowledge, by aio-pika alone.

`python -m tests.benchmarks.echo AMQP_URL FILE`, a process of its own; what it took from the moment a vector
was computed to the end of its handling is in FILE once it was terminated: [Unix time, seconds] each.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path

import aio_pika
import msgspec
from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import FieldTable

from common.messages import FeatureVector

TAKES = "bench.features"
GIVES = "bench.echoed"
GIVES_ARGUMENTS: FieldTable = {"x-max-length": 1000}
"""Nobody has to read it."""
PREFETCH = 50


async def echo(url: str, latencies: list[tuple[float, float]]) -> None:
    """Every vector of the queue comes back, until SIGTERM."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    decoder, encoder = msgspec.json.Decoder(FeatureVector), msgspec.json.Encoder()
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(PREFETCH)
        taken = await channel.declare_queue(TAKES, durable=True)
        given = await channel.declare_queue(GIVES, arguments=GIVES_ARGUMENTS)
        exchange = channel.default_exchange

        async def handle(message: AbstractIncomingMessage) -> None:
            vector = decoder.decode(message.body)
            await exchange.publish(
                aio_pika.Message(encoder.encode(vector), content_type="application/json"),
                routing_key=given.name,
            )
            await message.ack()
            now = time.time()
            latencies.append((now, now - vector.timestamp.timestamp()))

        await taken.consume(handle)
        print("echo", flush=True)
        await over.wait()


def main() -> None:
    """Echoes, then writes what it took."""
    latencies: list[tuple[float, float]] = []
    asyncio.run(echo(sys.argv[1], latencies))
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(latencies))


if __name__ == "__main__":
    main()
