"""Commands on versions over HTTP: recorded with who and why, and harmless when sent twice."""

import pytest
from sqlalchemy import select
from tests.integration.test_api import running_api

from common import model_registry, tables


@pytest.fixture
async def api(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as running:
        yield running


async def audited(api):
    async with api.engine.connect() as connection:
        rows = await connection.execute(
            select(tables.operator_actions).order_by(tables.operator_actions.c.action_id)
        )
        return [(row.action, row.subject, row.actor, row.reason, row.details) for row in rows]


async def test_every_command_is_recorded_with_who_and_why(api):
    first, second = await api.version(), await api.version(verdict="refused")
    by_ada = {"actor": "ada", "reason": "measured"}
    assert (await api.post(f"/models/{first}/activate", by_ada)).status_code == 200
    assert (await api.post(f"/models/{second}", by_ada | {"force": True})).status_code == 200
    assert (await api.post("/strategies/momentum/rollback", by_ada)).status_code == 200
    assert (await api.post("/strategies/momentum/deactivate", by_ada)).status_code == 200

    found = await audited(api)

    def details(epoch, previous, *, forced=False):
        return {"strategy_id": "momentum", "epoch": epoch, "forced": forced, "previous": previous}

    assert found == [
        ("activate", f"version:{first}", "ada", "measured", details(1, None)),
        ("activate", f"version:{second}", "ada", "measured", details(2, first, forced=True)),
        ("roll_back", f"version:{first}", "ada", "measured", details(3, second)),
        ("deactivate", "strategy:momentum", "ada", "measured", {"epoch": 4}),
    ]
    history = (await api.get("/strategies/momentum/activations"))["items"]
    assert {entry["actor"] for entry in history} == {"ada"}


async def test_activating_what_is_active_changes_nothing_and_says_so(api):
    version = await api.version(verdict="refused")
    forced = {"force": True, "reason": "a try", "expected_epoch": 0}
    once = (await api.post(f"/models/{version}/activate", forced)).json()

    answers = [
        await api.post(f"/models/{version}/activate", forced),
        await api.post(f"/models/{version}", {}),
        await api.post("/strategies/momentum/rollback", {"to": version, "reason": "r"}),
    ]

    assert (once["changed"], once["epoch"]) == (True, 1)
    for answer in answers:
        assert answer.status_code == 200
        assert (answer.json()["changed"], answer.json()["epoch"]) == (False, 1)
        assert (answer.json()["version"], answer.json()["is_active"]) == (version, True)
    assert len(await api.history()) == len(await audited(api)) == 1


async def test_what_is_active_but_damaged_is_409_all_the_same(api):
    version = await api.version()
    assert (await api.post(f"/models/{version}/activate")).status_code == 200
    (api.storage / version / "model.onnx").unlink()

    assert (await api.refused(f"/models/{version}/activate", {}, 409))[0] == "artifact_unusable"


async def test_an_activation_that_others_followed_is_not_taken_for_a_repetition(api):
    first, second = await api.version(), await api.version()
    for version in (first, second, first):
        assert (await api.post(f"/models/{version}/activate")).status_code == 200

    assert (await api.refused(f"/models/{first}/activate", {"expected_epoch": 0}, 409))[0] == "conflict"


async def test_a_rollback_that_is_sent_twice_goes_back_once(api):
    versions = [await api.version() for _ in range(3)]
    for version in versions:
        assert (await api.post(f"/models/{version}/activate")).status_code == 200
    body = {"reason": "it loses", "expected_epoch": 3}

    assert (await api.post("/strategies/momentum/rollback", body)).json()["version"] == versions[1]
    assert (await api.refused("/strategies/momentum/rollback", body, 409))[0] == "conflict"

    async with api.engine.connect() as connection:
        assert (await model_registry.active_for(connection, "momentum")).version == versions[1]


async def test_a_refused_command_leaves_no_trace(api):
    version = await api.version(verdict="refused")

    await api.refused(f"/models/{version}/activate", {"reason": "r"}, 409)

    assert await audited(api) == []
