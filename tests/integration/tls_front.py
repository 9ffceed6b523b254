"""Encryption in front of a real server, with certificates of an authority of the test's own."""

import asyncio
import ssl
import subprocess
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec


class Certificates(msgspec.Struct, frozen=True):
    """An authority, and what it gave to the host `localhost` and no other name or address."""

    authority: str
    certificate: str
    key: str


def certificates(directory):
    """New ones, made by openssl in `directory`."""
    directory.mkdir()

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    (directory / "names").write_text("subjectAltName=DNS:localhost\n")
    new_key = ("-newkey", "rsa:2048", "-noenc")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority")
    openssl("req", *new_key, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=localhost")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "request", *signing, "-out", "cert.pem")
    return Certificates(*(str(directory / name) for name in ("ca.pem", "cert.pem", "key.pem")))


@asynccontextmanager
async def tls_front(url, made, *, is_asked_first=False):
    """The port of an encrypted way to the server at `url`; PostgreSQL `is_asked_first` whether it can."""
    parts = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)

    async def serve(reader, writer):
        try:
            if is_asked_first:
                await reader.readexactly(8)
                writer.write(b"S")
            await writer.start_tls(context)
            behind_reader, behind_writer = await asyncio.open_connection(parts.hostname, parts.port)
        except (OSError, EOFError):
            writer.close()
            return
        await asyncio.gather(_pump(reader, behind_writer), _pump(behind_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
