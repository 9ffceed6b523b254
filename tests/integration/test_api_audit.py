"""The audit over HTTP: what took effect, by whom, filtered and paged."""

import pytest
from tests.integration.test_api import running_api, until_ready

from api import audit


@pytest.fixture
async def bench(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as bench:
        await until_ready(bench.client)
        yield bench


async def act(bench, *actions):
    async with bench.engine.begin() as connection:
        for action, subject, actor in actions:
            await audit.record(connection, action, subject, actor=actor, reason="why", details={"n": 1})


async def test_actions_are_listed_newest_first_and_filtered(bench):
    await act(
        bench,
        ("activate", "version:v1", "ada"),
        ("activate", "version:v2", "bob"),
        ("pause", "strategy:momentum", "ada"),
    )

    async def subjects(**query):
        return [each["subject"] for each in (await bench.get("/monitoring/audit", **query))["items"]]

    assert await subjects() == ["strategy:momentum", "version:v2", "version:v1"]
    assert await subjects(action="activate") == ["version:v2", "version:v1"]
    assert await subjects(actor="ada") == ["strategy:momentum", "version:v1"]
    assert await subjects(subject="version:v2", actor="ada") == []
    [item] = (await bench.get("/monitoring/audit", limit=1))["items"]
    assert (item["reason"], item["details"]) == ("why", {"n": 1})
    assert item["acted_at"].endswith("Z")


async def test_pages_hold_every_action_once_though_others_come_meanwhile(bench):
    await act(bench, *(("pause", f"strategy:s{n}", "ada") for n in range(5)))

    seen, before = [], {}
    while before is not None:
        page = await bench.get("/monitoring/audit", limit=2, **before)
        seen += [each["subject"] for each in page["items"]]
        before = {"before": page["next_before"]} if page["next_before"] else None
        await act(bench, ("resume", "strategy:later", "bob"))

    assert seen == [f"strategy:s{n}" for n in reversed(range(5))]


async def test_a_command_that_was_refused_leaves_no_action_and_one_that_took_effect_leaves_one(bench):
    await bench.refused("/training/trigger", {"strategy_id": "unknown"}, 404)
    run_id = (await bench.post("/training/trigger", {"actor": "ada"})).json()["run_id"]
    await bench.refused("/training/trigger", {"actor": "bob"}, 409)
    await bench.post(f"/training/runs/{run_id}/cancel", {"actor": "eve", "reason": "not now"})

    items = (await bench.get("/monitoring/audit"))["items"]

    assert [(each["action"], each["subject"], each["actor"], each["reason"]) for each in items] == [
        ("cancel_training", f"run:{run_id}", "eve", "not now"),
        ("trigger_training", "strategy:momentum", "ada", None),
    ]
    assert items[1]["details"] == {"run_id": run_id, "symbol": "BTCUSDT", "priority": "HIGH"}
