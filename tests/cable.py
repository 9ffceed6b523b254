"""A line to the broker that a test can cut and lay anew."""

import asyncio
import socket
from contextlib import suppress
from urllib.parse import urlsplit


class Cable:
    """The way from a neighbour to the broker: `unplug` cuts it, `plug` allows new connections."""

    def __init__(self, amqp_url: str) -> None:
        self._broker = urlsplit(amqp_url)
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self._port = unused.getsockname()[1]
        credentials = self._broker.netloc.rpartition("@")[0]
        self.url = self._broker._replace(netloc=f"{credentials}@127.0.0.1:{self._port}").geturl()

    async def plug(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)

    async def unplug(self) -> None:
        assert self._server
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await self._server.wait_closed()

    async def _connect(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far_in, far_out = await asyncio.open_connection(self._broker.hostname, self._broker.port)
        self._writers += [near_out, far_out]
        await asyncio.gather(_forward(near_in, far_out), _forward(far_in, near_out))


async def _forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()
