"""A message that no service can use, from the platform's queue to the operator who puts it away."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import aio_pika
import httpx
import pytest
from tests.integration.test_service_processes import KEY, answer, process

PATIENCE_S = 30.0
LETTERS = "/api/v1/monitoring/dead-letters"


@pytest.fixture
async def fleet(database_url, amqp_url, tmp_path):
    where = {"DATABASE_URL": database_url, "RABBITMQ_URL": amqp_url}
    for name in ("api", "inference"):
        (tmp_path / name).mkdir()
    async with (
        process("api", tmp_path / "api", **where) as (_, url),
        process("inference", tmp_path / "inference", **where) as (_, worker),
        httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEY}) as client,
    ):
        await answer(f"{url}/health/ready", 200)
        await answer(f"{worker}/health/ready", 200)
        yield client


async def settled_as(client, total):
    async with asyncio.timeout(PATIENCE_S):
        while (page := (await client.get(LETTERS)).json())["total"] != total:
            await asyncio.sleep(0.1)
    return page["items"]


async def test_a_poisonous_vector_is_collected_listed_refused_as_stale_and_discarded(fleet, amqp_url):
    at = datetime.now(UTC) - timedelta(hours=1)
    poison = [b"\xff\x00{", json.dumps({"timestamp": at.isoformat(), "features": "none"}).encode()]
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        for body in poison:
            await channel.default_exchange.publish(aio_pika.Message(body), routing_key="features.live")
        items = await settled_as(fleet, 2)

    assert {(item["queue"], item["service"], item["state"]) for item in items} == {
        ("features.live", "inference", "open")
    }
    whole = [(await fleet.get(f"{LETTERS}/{item['letter_id']}")).json() for item in items]
    assert {each["body_encoding"] for each in whole} == {"text", "base64"}
    assert {item["reason"].partition(":")[0] for item in items} == {"DecodeError", "ValidationError"}
    said = {"actor": "ada", "reason": "it is poison"}
    for each in whole:
        refused = await fleet.post(f"{LETTERS}/{each['letter_id']}/replay", json=said)
        code = "stale" if each["body_encoding"] == "text" else "not_replayable"
        assert (
            (refused.status_code, refused.json()["code"]) == (409, code) == (409, each["objection"]["code"])
        )
        discarded = await fleet.post(f"{LETTERS}/{each['letter_id']}/discard", json=said)
        assert (discarded.json()["state"], discarded.json()["settled_by"]) == ("discarded", "ada")
    actions = (await fleet.get("/api/v1/monitoring/audit", params={"actor": "ada"})).json()["items"]
    assert {(each["action"], each["subject"]) for each in actions} == {
        ("discard_dead_letter", f"letter:{item['letter_id']}") for item in items
    }
    assert (await fleet.get("/api/v1/monitoring/health")).json()["dead_letters_open"] == 0
