"""Commands at the same time: one of them takes effect, the audit says which, and nobody gets a 500."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from tests.integration.test_api import running_api, until_ready
from tests.integration.test_api_models_commands import audited
from tests.integration.test_api_positions import lifecycle

from common import tables, training_runs
from common.errors import Conflict

BY_ADA = {"actor": "ada", "reason": "measured"}
ROUNDS = 5
"""Which one is first is chance."""


@pytest.fixture
async def api(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as running:
        yield running


def statuses(answers):
    return sorted(answer.status_code for answer in answers)


async def requested(api, symbol="BTCUSDT"):
    answer = await api.post("/training/trigger", {"strategy_id": "momentum", "symbol": symbol})
    assert answer.status_code == 202
    return answer.json()["run_id"]


async def test_one_activation_that_is_sent_several_times_at_once_is_one(api):
    for _ in range(ROUNDS):
        version = await api.version()

        answers = await asyncio.gather(*(api.post(f"/models/{version}/activate", BY_ADA) for _ in range(4)))

        assert statuses(answers) == [200] * 4
        assert Counter(answer.json()["changed"] for answer in answers) == {True: 1, False: 3}
        assert len({answer.json()["epoch"] for answer in answers}) == 1
    assert len(await api.history()) == len(await audited(api)) == ROUNDS


async def test_activations_rollbacks_and_deactivations_at_once_leave_one_history(api):
    first, second, third = [await api.version() for _ in range(3)]
    for version in (first, second):
        await api.post(f"/models/{version}/activate", BY_ADA)
    for _ in range(ROUNDS):
        answers = await asyncio.gather(
            api.post(f"/models/{third}/activate", BY_ADA),
            api.post(f"/models/{second}/activate", BY_ADA),
            api.post("/strategies/momentum/rollback", BY_ADA),
            api.post("/strategies/momentum/deactivate", BY_ADA),
        )

        assert set(statuses(answers)) <= {200, 409}

    history = (await api.history())[::-1]
    assert [entry.epoch for entry in history] == list(range(1, len(history) + 1))
    active = (await api.get("/models", is_active=True))["items"]
    assert [item["version"] for item in active] == [history[-1].version] * bool(history[-1].version)
    recorded = [(action, details) for action, _, _, _, details in await audited(api)]
    assert [details["epoch"] for _, details in recorded] == [entry.epoch for entry in history]
    before = [None, *(entry.version for entry in history)]
    for action, details in recorded:
        if action != "deactivate":
            assert details["previous"] == before[details["epoch"] - 1]


async def test_of_a_cancellation_and_an_end_at_once_one_holds(api):
    runs = tables.training_runs

    async def end(run_id):
        async with api.engine.begin() as connection:
            done = await connection.execute(
                runs.update()
                .where(runs.c.run_id == run_id, runs.c.state == "running", runs.c.fence == 1)
                .values(state="succeeded", finished_at=datetime.now(UTC))
            )
            return done.rowcount

    for _ in range(ROUNDS):
        run_id = await requested(api)
        async with api.engine.begin() as connection:
            await connection.execute(
                runs.update().where(runs.c.run_id == run_id).values(state="running", fence=1, owner="one")
            )

        cancelled, ended = await asyncio.gather(
            api.post(f"/training/runs/{run_id}/cancel", BY_ADA), end(run_id)
        )

        run = await api.get(f"/training/runs/{run_id}")
        assert (cancelled.status_code, ended, run["state"]) in {(200, 0, "cancelled"), (409, 1, "succeeded")}
        actions = [each[:2] for each in await audited(api)]
        recorded = ("cancel_training", f"run:{run_id}") in actions
        assert recorded == (run["state"] == "cancelled")


async def test_of_several_cancellations_at_once_one_is_recorded(api):
    run_id = await requested(api)

    answers = await asyncio.gather(*(api.post(f"/training/runs/{run_id}/cancel", BY_ADA) for _ in range(4)))

    assert statuses(answers) == [200, 409, 409, 409]
    assert [action for action, *_ in await audited(api)] == ["trigger_training", "cancel_training"]


async def test_triggers_at_once_without_a_key_lead_to_one_run(api):
    body = {"strategy_id": "momentum", "symbol": "BTCUSDT"}

    answers = await asyncio.gather(*(api.post("/training/trigger", body) for _ in range(6)))

    assert statuses(answers) == [202] + [409] * 5
    assert (await api.get("/training/runs"))["total"] == len(await audited(api)) == 1


async def test_of_a_replay_and_discards_of_one_letter_at_once_one_settles_it(api):
    await until_ready(api.client)
    letter_id = uuid4()
    await api.insert(
        tables.dead_letters,
        {
            "letter_id": letter_id,
            "queue": "features.dataset.ready",
            "service": "trainer",
            "reason": "no",
            "body": b"{}",
            "headers": {},
            "trace_id": "t",
            "failed_at": datetime.now(UTC),
        },
    )
    path = f"/monitoring/dead-letters/{letter_id}"

    answers = await asyncio.gather(
        api.post(f"{path}/discard", BY_ADA),
        api.post(f"{path}/replay", BY_ADA),
        api.post(f"{path}/discard", BY_ADA),
    )

    assert statuses(answers) == [200, 409, 409]
    [(_, subject, *_)] = await audited(api)
    assert subject == f"letter:{letter_id}"


async def test_states_that_are_set_at_once_end_as_the_last_one_recorded(api):
    changes = ("pause", "reduce", "resume") * 3

    answers = await asyncio.gather(
        *(api.post(f"/strategies/momentum/{change}", BY_ADA) for change in changes)
    )

    assert statuses(answers) == [200] * len(changes)
    states = await api.get("/trading-states")
    assert len(states["changes"]) == len(await audited(api)) == len(changes)
    [held] = states["items"]
    assert held["state"] == states["changes"][0]["state"]


async def test_closes_at_once_are_one_request_and_one_action(api):
    await api.insert(tables.position_lifecycles, lifecycle(1, symbol="BTCUSDT"))

    answers = await asyncio.gather(
        *(api.post("/positions/BTCUSDT/close", BY_ADA | {"reason": str(n)}) for n in range(5))
    )

    assert statuses(answers) == [202] * 5
    assert len({answer.text for answer in answers}) == 1
    [(action, _, _, reason, _)] = await audited(api)
    assert (action, reason) == ("close_position", answers[0].json()["close_reason"])


async def test_a_run_that_ended_meanwhile_is_not_cancelled_any_more(api):
    run_id = await requested(api)
    async with api.engine.begin() as connection:
        await training_runs.cancel(connection, run_id, actor="trainer", reason="making way")

    with pytest.raises(Conflict):
        async with api.engine.begin() as connection:
            await training_runs.cancel(connection, run_id, actor="ada", reason="late")
    assert (await api.refused(f"/training/runs/{run_id}/cancel", BY_ADA, 409))[0] == "conflict"
