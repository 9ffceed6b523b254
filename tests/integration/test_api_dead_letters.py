"""Dead letters on a real broker and a real database: taken over, listed, replayed, discarded."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import aio_pika
import pytest
from sqlalchemy import event, insert, select
from tests.integration.test_api import PATIENCE_S, running_api, until_ready

from api.dead_letters import Collector
from common import bus, tables, topology
from common.database import create_engine
from common.errors import Unusable
from common.messages import FeatureVector
from common.settings import BusSettings, DatabaseSettings

PATH = "/monitoring/dead-letters"
SAID = {"actor": "ada", "reason": "the consumer is mended"}


@pytest.fixture
async def bench(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as bench:
        await until_ready(bench.client)
        yield bench


@pytest.fixture
async def channel(amqp_url):
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        yield await connection.channel()


def vector(age=timedelta()):
    at = datetime.now(UTC) - age
    return json.dumps(
        {
            "timestamp": at.isoformat(),
            "symbol": "BTCUSDT",
            "features": {"mid_price": 100.0},
            "feature_registry_version": "1.0.0",
        }
    ).encode()


async def bury(channel, body=b"{}", *, queue="features.live", message_id="m-1", **headers):
    """A dead letter as `common.bus` stores it; returns its id."""
    letter_id = uuid4()
    told = {
        "letter_id": str(letter_id),
        "reason": "Unusable: no",
        "queue": queue,
        "service": "inference",
        "failed_at": datetime.now(UTC).isoformat(),
        "trace_id": "t-1",
    }
    own = {"original-trace_id": "t-0", "original-attempt": 3, "original-raw": bytearray(b"\xff\x00")}
    await channel.default_exchange.publish(
        aio_pika.Message(
            body,
            headers={**own, **told, **headers},
            content_type="application/json",
            message_id=message_id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        ),
        routing_key=topology.DEAD_LETTERS.name,
    )
    return str(letter_id)


async def listed(bench, total, **query):
    async with asyncio.timeout(PATIENCE_S):
        while (page := await bench.get(PATH, **query))["total"] != total:
            await asyncio.sleep(0.05)
    return page["items"]


async def platform_queue(channel, name):
    return await channel.declare_queue(name, durable=True)


async def waiting(channel, name=topology.DEAD_LETTERS.name):
    return (await channel.declare_queue(name, passive=True)).declaration_result.message_count


async def test_what_a_service_cannot_use_ends_as_a_letter_that_can_be_read(bench, amqp_url, channel):
    broker = bus.create_broker(BusSettings(rabbitmq_url=amqp_url), service="inference")

    @broker.subscriber(topology.FEATURES_LIVE, decoder=bus.decoding(FeatureVector))
    async def refuse(_):
        raise Unusable("this symbol is not ours")

    body = vector()
    await bus.connect(broker, topology.FEATURES_LIVE)
    await channel.default_exchange.publish(
        aio_pika.Message(body, headers={"trace_id": "t-0"}, message_id="m-7"), routing_key="features.live"
    )
    [item] = await listed(bench, 1)
    await broker.stop()

    assert (item["queue"], item["service"], item["state"]) == ("features.live", "inference", "open")
    assert item["reason"] == "Unusable: this symbol is not ours"
    assert (item["message_id"], item["size_bytes"]) == ("m-7", len(body))
    assert "body" not in item
    whole = await bench.get(f"{PATH}/{item['letter_id']}")
    assert (whole["body"], whole["body_encoding"]) == (body.decode(), "text")
    assert whole["headers"] == {"trace_id": "t-0"}
    assert whole["objection"] is None
    assert await waiting(channel) == 0


async def test_a_letter_told_twice_is_kept_once_and_one_without_an_id_as_well(bench, channel):
    first = await bury(channel)
    await bury(channel, letter_id=first)
    for _ in range(2):
        await bury(channel, letter_id=None, failed_at="2026-03-01T12:00:00+00:00")

    items = await listed(bench, 2)
    async with asyncio.timeout(PATIENCE_S):
        while await waiting(channel):
            await asyncio.sleep(0.05)

    assert {item["letter_id"] for item in items} >= {first}
    assert len(await listed(bench, 2)) == 2


async def test_letters_are_filtered_and_paged_newest_first(bench, channel):
    for minute, queue in enumerate(("features.live", "features.dataset.ready", "features.live")):
        await bury(channel, queue=queue, failed_at=f"2026-03-01T12:0{minute}:00+00:00")

    items = await listed(bench, 3)
    assert [item["failed_at"][14:16] for item in items] == ["02", "01", "00"]
    assert [item["letter_id"] for item in await listed(bench, 2, queue="features.live")] == [
        items[0]["letter_id"],
        items[2]["letter_id"],
    ]
    page = await bench.get(PATH, limit=1, offset=1)
    assert [item["letter_id"] for item in page["items"]] == [items[1]["letter_id"]]
    assert (page["total"], page["limit"], page["offset"]) == (3, 1, 1)
    assert await listed(bench, 0, state="discarded") == []


async def test_a_body_that_is_not_text_is_shown_as_base64(bench, channel):
    letter_id = await bury(channel, b"\xff\x00\xfe")
    await listed(bench, 1)

    whole = await bench.get(f"{PATH}/{letter_id}")

    assert (base64.b64decode(whole["body"]), whole["body_encoding"]) == (b"\xff\x00\xfe", "base64")


async def test_a_replayed_message_arrives_as_it_was_and_is_replayed_once(bench, channel):
    queue = await platform_queue(channel, "position-manager.position_updated")
    letter_id = await bury(channel, b"\xffold", queue=queue.name)
    await listed(bench, 1)

    answer = await bench.post(f"{PATH}/{letter_id}/replay", SAID)
    message = await queue.get()

    said = answer.json()
    assert answer.status_code == 200, answer.text
    assert (said["state"], said["settled_by"]) == ("replayed", "ada")
    assert said["settled_reason"] == "the consumer is mended"
    assert message.body == b"\xffold"
    assert (message.message_id, message.content_type) == ("m-1", "application/json")
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.headers == {"trace_id": "t-0", "attempt": 3, "raw": b"\xff\x00"}
    for what in ("replay", "discard"):
        assert (await bench.refused(f"{PATH}/{letter_id}/{what}", SAID, 409))[0] == "already_settled"
    assert await queue.get(fail=False) is None
    [action] = (await bench.get("/monitoring/audit"))["items"]
    assert (action["action"], action["subject"]) == ("replay_dead_letter", f"letter:{letter_id}")


async def test_of_two_who_replay_at_once_one_does(bench, channel):
    queue = await platform_queue(channel, "features.dataset.ready")
    letter_id = await bury(channel, queue=queue.name)
    await listed(bench, 1)

    answers = await asyncio.gather(*(bench.post(f"{PATH}/{letter_id}/replay", SAID) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert await waiting(channel, queue.name) == 1


async def outbox_row(bench, valid_for):
    signal_id = uuid4()
    now = datetime.now(UTC)
    await bench.insert(
        tables.signal_outbox,
        {
            "signal_id": signal_id,
            "kind": "entry",
            "strategy_id": "momentum",
            "symbol": "BTCUSDT",
            "side": "buy",
            "amount_quote": 100,
            "payload": "{}",
            "trace_id": "t",
            "valid_until": now + valid_for,
            "owner": "o",
            "lease_until": now,
        },
    )
    return str(signal_id)


@pytest.mark.parametrize(
    ("queue", "body", "code"),
    [
        ("features.live", vector(timedelta(minutes=2)), "stale"),
        ("model-service.trading_signals", b"{}", "stale"),
        ("", b"{}", "not_replayable"),
        ("flotilla.price_seen.0f", b"{}", "not_replayable"),
        ("somebody.elses", b"{}", "not_replayable"),
        ("order-manager.order_events", b"{}", "queue_gone"),
    ],
)
async def test_what_would_do_harm_or_no_good_is_not_replayed_and_stays_open(
    bench, channel, queue, body, code
):
    letter_id = await bury(channel, body, queue=queue)
    await listed(bench, 1)

    assert (await bench.refused(f"{PATH}/{letter_id}/replay", SAID, 409))[0] == code
    whole = await bench.get(f"{PATH}/{letter_id}")
    assert whole["state"] == "open"
    assert (whole["objection"] or {"code": "queue_gone"})["code"] == code
    assert (await bench.get("/monitoring/audit"))["items"] == []


async def test_a_signal_is_replayed_within_its_validity_and_expires_with_it(bench, channel):
    queue = await platform_queue(channel, "model-service.trading_signals")
    over, valid = [await outbox_row(bench, timedelta(seconds=s)) for s in (-1, 60)]
    letters = [await bury(channel, queue=queue.name, message_id=each) for each in (over, valid)]
    await listed(bench, 2)

    answers = [await bench.post(f"{PATH}/{each}/replay", SAID) for each in letters]
    message = await queue.get()

    assert [answer.status_code for answer in answers] == [409, 200]
    assert message.message_id == valid
    assert 0 < message.expiration <= 60


async def test_a_discarded_letter_is_settled_with_who_and_why(bench, channel):
    letter_id = await bury(channel)
    await listed(bench, 1)

    await bench.refused(f"{PATH}/{letter_id}/discard", {"actor": "ada"}, 400)
    answer = await bench.post(f"{PATH}/{letter_id}/discard", SAID)

    assert (answer.status_code, answer.json()["state"]) == (200, "discarded")
    assert await listed(bench, 1, state="discarded")
    assert (await bench.get("/monitoring/health"))["dead_letters_open"] == 0


async def test_a_letter_that_there_is_not_is_404(bench):
    assert (await bench.client.get(f"/api/v1{PATH}/{uuid4()}")).status_code == 404
    for what in ("replay", "discard"):
        assert (await bench.refused(f"{PATH}/{uuid4()}/{what}", SAID, 404))[0] == "not_found"


@asynccontextmanager
async def collecting(database_url, amqp_url):
    broker = bus.create_broker(BusSettings(rabbitmq_url=amqp_url), service="api")
    engine = create_engine(DatabaseSettings(database_url=database_url), application="test")
    await bus.connect(broker)
    yield Collector(broker, engine), engine
    await broker.stop()
    await engine.dispose()


async def test_while_the_database_does_not_take_letters_the_broker_keeps_them(
    database_url, amqp_url, channel
):
    async with collecting(database_url, amqp_url) as (collector, engine):
        letter_id = await bury(channel)

        @event.listens_for(engine.sync_engine, "commit")
        def fail(_):
            raise OSError("the disk is full")

        with pytest.raises(OSError, match="the disk is full"):
            await collector.collect()
        async with asyncio.timeout(PATIENCE_S):
            while not await waiting(channel):
                await asyncio.sleep(0.02)
        event.remove(engine.sync_engine, "commit", fail)
        await collector.collect()
        async with engine.connect() as connection:
            kept = list(await connection.scalars(select(tables.dead_letters.c.letter_id)))

    assert kept == [UUID(letter_id)]
    assert await waiting(channel) == 0


async def test_without_a_database_no_letter_is_asked_for(amqp_url, channel):
    async with collecting("postgresql://nobody@127.0.0.1:9/none", amqp_url) as (collector, _):
        await bury(channel)

        with pytest.raises(OSError):  # noqa: PT011 - whatever the driver says of a closed port
            await collector.collect()

        queue = await channel.get_queue(topology.DEAD_LETTERS.name)
        assert not (await queue.get()).redelivered


async def test_a_collector_that_died_before_it_acknowledged_leaves_nothing_twice(
    database_url, amqp_url, channel
):
    letter_id = uuid4()
    async with collecting(database_url, amqp_url) as (collector, engine):
        async with engine.begin() as connection:
            await connection.execute(
                insert(tables.dead_letters).values(
                    letter_id=letter_id,
                    queue="features.live",
                    service="inference",
                    reason="first",
                    body=b"{}",
                    headers={},
                    trace_id="t",
                    failed_at=datetime.now(UTC),
                )
            )
        await bury(channel, letter_id=str(letter_id))
        await collector.collect()
        async with engine.connect() as connection:
            reasons = list(await connection.scalars(select(tables.dead_letters.c.reason)))

    assert reasons == ["first"]
    assert await waiting(channel) == 0
