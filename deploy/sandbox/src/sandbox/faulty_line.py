"""A TCP line to a server that can be made faulty: late, silent, torn, or cut in the middle of a message.

It runs in the caller's event loop and knows nothing of what it carries.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlsplit

_CHUNK_BYTES = 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FaultyLine:
    """A line to `host`:`port` with an address of its own, which stays the same whatever happens to it."""

    def __init__(self, host: str, port: int) -> None:
        self.delay_s = 0.0
        """How late every piece of data is, each way, in seconds."""
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[None]] = set()
        self._moving = asyncio.Event()
        self._moving.set()
        self._left_bytes: int | None = None
        self._is_cut = False

    @classmethod
    def to(cls, url: str) -> Self:
        """A line to the server of `url`."""
        place = urlsplit(url)
        assert place.hostname is not None
        assert place.port is not None
        return cls(place.hostname, place.port)

    def url(self, url: str) -> str:
        """`url`, by this line."""
        place = urlsplit(url)
        port = self._listener.getsockname()[1]
        return place._replace(netloc=f"{place.netloc.rpartition('@')[0]}@127.0.0.1:{port}").geturl()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[Self]:
        """It carries connections inside the block."""
        self._accepting = await asyncio.start_server(self._carry, sock=self._listener)
        try:
            yield self
        finally:
            self._accepting.close()
            self._moving.set()
            self._tear()
            await asyncio.gather(*self._carrying, return_exceptions=True)

    def reset(self) -> None:
        """Every connection is torn; new ones are carried."""
        self._tear()

    def cut(self) -> None:
        """Every connection is torn, and new ones are as soon as they begin, until it is mended."""
        self._is_cut = True
        self._tear()

    def silence(self) -> None:
        """Connections stay open and nothing moves any more, neither way; new ones are as silent."""
        self._moving.clear()

    def cut_within(self, left_bytes: int) -> None:
        """After so many more bytes, counted over all connections, every one is torn, wherever that is."""
        self._left_bytes = left_bytes

    def mend(self) -> None:
        """It is a good line again. What was silent is torn: its ends cannot agree on what went through."""
        was_silent = not self._moving.is_set()
        self.delay_s, self._is_cut, self._left_bytes = 0.0, False, None
        if was_silent:
            self._tear()
        self._moving.set()

    async def _carry(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        self._writers.add(near_out)
        writers = {near_out}
        try:
            if not self._is_cut:
                with contextlib.suppress(OSError):
                    far_in, far_out = await asyncio.open_connection(*self._server)
                    writers.add(far_out)
                    self._writers.add(far_out)
                    await asyncio.gather(self._forward(near_in, far_out), self._forward(far_in, near_out))
        finally:
            for writer in writers:
                _reset(writer)
            self._writers -= writers
            self._carrying.discard(task)

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK_BYTES):
                await self._moving.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                target.write(self._let_through(data))
                await target.drain()
        target.close()

    def _let_through(self, data: bytes) -> bytes:
        if self._left_bytes is None:
            return data
        passed, self._left_bytes = data[: self._left_bytes], self._left_bytes - len(data)
        if self._left_bytes <= 0:
            self._left_bytes = None
            asyncio.get_running_loop().call_soon(self._tear)
        return passed

    def _tear(self) -> None:
        for writer in self._writers:
            _reset(writer)


# A reset, as a firewall sends it, and not an orderly end.
def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
