"""Encrypted connections to the real servers: a certificate is believed where its authority and name are."""

import asyncio
import ssl
from urllib.parse import urlsplit

import aio_pika
import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from tests.integration.tls_front import certificates, tls_front

from common import bus
from common.database import create_engine
from common.neighbour import http_client
from common.settings import BusSettings, DatabaseSettings


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("tls") / "made")


def through(url, host, port, scheme):
    parts = urlsplit(url)
    return parts._replace(scheme=scheme, netloc=f"{parts.username}:{parts.password}@{host}:{port}").geturl()


async def is_encrypted(url, **tls):
    settings = DatabaseSettings(database_url=url, **tls)
    engine = create_engine(settings, application="tls test", is_pinged=False)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            raw = await connection.get_raw_connection()
            return raw.driver_connection._transport.get_extra_info("ssl_object") is not None
    finally:
        await engine.dispose()


async def test_the_database_is_believed_by_authority_and_name(database_url, made):
    async with tls_front(database_url, made, is_asked_first=True) as port:
        by_name = through(database_url, "localhost", port, "postgresql")
        by_address = through(database_url, "127.0.0.1", port, "postgresql")
        authority = {"postgres_sslrootcert": made.authority}

        assert await is_encrypted(by_name, postgres_sslmode="verify-full", **authority)
        assert await is_encrypted(by_address, postgres_sslmode="verify-ca", **authority)
        assert await is_encrypted(by_address, postgres_sslmode="require")
        for wrong in (
            {"url": by_address, "postgres_sslmode": "verify-full", **authority},
            {"url": by_name, "postgres_sslmode": "verify-full"},
        ):
            with pytest.raises(ssl.SSLCertVerificationError):
                await is_encrypted(**wrong)


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_a_database_that_cannot_encrypt_is_refused_where_that_is_asked(database_url, made, mode):
    authority = {"postgres_sslrootcert": made.authority} if mode == "verify-full" else {}

    with pytest.raises(ConnectionError, match="SSL"):
        await is_encrypted(database_url, postgres_sslmode=mode, **authority)
    assert not await is_encrypted(database_url, postgres_sslmode="prefer")


async def test_the_broker_is_believed_by_authority_and_name(amqp_url, made):
    async with tls_front(amqp_url, made) as port:
        by_name = BusSettings(
            rabbitmq_url=through(amqp_url, "localhost", port, "amqps"), rabbitmq_ca_file=made.authority
        )
        broker = bus.create_broker(by_name, service="tls-test")
        async with asyncio.timeout(20):
            await bus.connect(broker)
            assert await broker.ping(5)
            await broker.stop()
        for url, authority in ((through(amqp_url, "127.0.0.1", port, "amqps"), made.authority), (None, None)):
            settings = BusSettings(
                rabbitmq_url=url or through(amqp_url, "localhost", port, "amqps"), rabbitmq_ca_file=authority
            )
            refusing = bus.create_broker(settings, service="tls-test")
            with pytest.raises((ssl.SSLCertVerificationError, aio_pika.exceptions.AMQPConnectionError)):
                await refusing.connect()
            await refusing.stop()


async def test_a_neighbour_is_believed_by_authority_and_name(made):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    behind = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with tls_front(behind, made) as port:
        cases = {
            ("localhost", made.authority): True,
            ("127.0.0.1", made.authority): False,
            ("localhost", None): False,
        }
        for (host, authority), is_believed in cases.items():
            client = http_client(f"https://{host}:{port}", SecretStr("k"), timeout_s=10, ca_file=authority)
            async with client:
                if is_believed:
                    assert (await client.get("/")).text == "ok"
                else:
                    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                        await client.get("/")
    server.close()
    await server.wait_closed()
