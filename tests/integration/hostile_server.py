"""A neighbour that answers as no neighbour should: one small server, whose behaviour a test chooses."""

import asyncio
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]

PIECE = b" " * 65536
PAUSE_S = 0.02
"""Between the bytes of what drips."""
BOMB_BYTES = 256 * 2**20
"""What the compressed answer unpacks to."""


class HostileServer:
    """Listens on a port of its own; counts who asked, and what was sent before the client went."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = silent
        self.port = 0
        self.asked = 0
        self.gone = asyncio.Event()
        """Set when the client of the last question went, or was answered to the end."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["HostileServer"]:
        """Questions are answered until the end; connections that are open then are cut."""
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await reader.readuntil(b"\r\n\r\n")
                self.asked += 1
                await self.behaviour(writer)
            writer.close()
            self.gone.set()
            tasks.discard(task)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks.copy():
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def answering(body: bytes, status: str = "200 OK", **headers: str) -> Behaviour:
    """A whole answer, whatever stands in it."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        told = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        writer.write(_head(status, told) + body)
        await writer.drain()

    return answer


def redirecting(location: str) -> Behaviour:
    """To somewhere else."""
    return answering(b"{}", "307 Temporary Redirect", location=location)


async def silent(writer: asyncio.StreamWriter) -> None:
    """The question is taken and never answered."""
    await writer.wait_closed()


async def dripping(writer: asyncio.StreamWriter) -> None:
    """Every byte comes long before the client loses patience with it, and there is no last one."""
    writer.write(_head("200 OK", {"content-type": "application/json", "content-length": "1000000"}))
    await _repeat(writer, b" ", PAUSE_S)


async def dripping_headers(writer: asyncio.StreamWriter) -> None:
    """The head of the answer has no end."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    await _repeat(writer, b"x-more: 1\r\n", PAUSE_S)


async def chunked_for_ever(writer: asyncio.StreamWriter) -> None:
    """As fast as the client reads."""
    writer.write(_head("200 OK", {"content-type": "application/json", "transfer-encoding": "chunked"}))
    await _repeat(writer, b"%x\r\n%s\r\n" % (len(PIECE), PIECE), 0)


async def huge(writer: asyncio.StreamWriter) -> None:
    """It says how long it is, and goes through with it."""
    writer.write(_head("200 OK", {"content-type": "application/json", "content-length": str(2**40)}))
    await _repeat(writer, PIECE, 0)


async def reset_in_the_body(writer: asyncio.StreamWriter) -> None:
    """A connection that is gone in the middle of its answer."""
    writer.write(_head("200 OK", {"content-type": "application/json", "content-length": "1000"}) + b'{"a":')
    await writer.drain()
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def no_http(writer: asyncio.StreamWriter) -> None:
    """Another protocol altogether."""
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\x00\xff\xfe\r\n\r\n")
    await writer.drain()


def bomb() -> Behaviour:
    """A small answer that unpacks to BOMB_BYTES."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = b"".join(packer.compress(PIECE) for _ in range(BOMB_BYTES // len(PIECE)))
    return answering(packed + packer.flush(), **{"content-encoding": "gzip"})


def _head(status: str, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def _repeat(writer: asyncio.StreamWriter, piece: bytes, pause_s: float) -> None:
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)
