"""The record of a chaos run: secrets in what the API shows of the tables, and messages that go round."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import aio_pika
import asyncpg
import pytest
from rich.console import Console

from sandbox import chaos_record
from sandbox.chaos_notes import Notes
from sandbox.narration import Narrator
from sandbox.redeliveries import Redeliveries
from sandbox.wiretap import EVERYTHING_SENT, tapped

CANARY = "canary-5f0c"
ROWS = {
    "alerts": (
        "INSERT INTO alerts (alert_id, kind, scope, severity, sentence) "
        "VALUES ($1, $1::uuid::text, 's', 'warning', $2)"
    ),
    "operator_actions": (
        "INSERT INTO operator_actions (actor, action, subject, reason, trace_id) "
        "VALUES ('a', 'b', $1::uuid::text, $2, 't')"
    ),
    "dead_letters": (
        "INSERT INTO dead_letters (letter_id, queue, service, reason, body, headers, trace_id, failed_at) "
        "VALUES ($1, 'q', 's', 'r', convert_to($2, 'UTF8'), '{}', 't', now())"
    ),
}


QUEUE = "features.live"
TAPPED = (EVERYTHING_SENT, f"deliver.{QUEUE}")


@pytest.fixture
def vhost(servers):
    assert servers.rabbitmq is not None, "only a private broker can be traced: unset TEST_RABBITMQ_URL"
    name = f"rounds_{uuid4().hex[:8]}"
    yield name
    servers.rabbitmq.delete_vhost(name)


@pytest.fixture
async def database(database_url):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("table", ROWS)
async def test_a_secret_in_a_row_is_a_leak_of_its_table(database, table):
    notes = Notes(Narrator(Console(quiet=True)), datetime.now(UTC), secrets=[CANARY])

    await database.execute(ROWS[table], uuid4(), "nothing of interest")
    await chaos_record.scan_tables(database, notes)
    assert notes.leaks == []

    await database.execute(ROWS[table], uuid4(), f"refused: {CANARY}")
    await chaos_record.scan_tables(database, notes)
    assert notes.leaks == [f"the table {table}"]


async def test_a_message_that_goes_round_is_counted_and_only_its_sending_is_kept(servers, vhost):
    amqp_url = servers.rabbitmq.add_vhost(vhost)
    heard = []
    counted = Redeliveries(heard.append)

    async with tapped(servers, vhost, amqp_url, counted.heard, TAPPED):
        async with await aio_pika.connect(amqp_url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(QUEUE, durable=True)
            await channel.default_exchange.publish(aio_pika.Message(b"{}"), routing_key=QUEUE)
            async with queue.iterator() as messages:
                for _ in range(4):
                    await (await anext(messages)).nack(requeue=True)
                await (await anext(messages)).ack()
        async with asyncio.timeout(30):
            while [each.times for each in counted.counted()] != [4]:
                await asyncio.sleep(0.05)

    assert [(each.is_sent, each.queue) for each in heard] == [(True, QUEUE)]
