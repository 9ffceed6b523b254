"""Training over HTTP: asked for, called off, watched; on a real broker and a real database."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import update
from tests.integration.test_api import NOON, TRADED, running_api, until_ready

from common import tables, training_runs


@pytest.fixture
async def bench(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as bench:
        await until_ready(bench.client)
        yield bench


async def test_a_training_is_requested_once_until_it_is_finished(bench):
    answer = await bench.client.post(
        "/api/v1/training/trigger", json={"strategy_id": "reversal", "symbol": "ETHUSDT"}
    )

    said = answer.json()
    assert answer.status_code == 202
    assert said["triggered"] is True
    assert (said["strategy_id"], said["symbol"]) == ("reversal", "ETHUSDT")
    assert "reversal" in said["message"]
    async with bench.engine.connect() as connection:
        [run] = await training_runs.recent(connection)
    assert str(run.run_id) == said["run_id"]
    assert (run.trigger, run.priority, run.state) == ("manual", "HIGH", "requested")
    assert run.trace_id == answer.headers["x-trace-id"]

    again = {"strategy_id": "reversal", "symbol": "ETHUSDT"}
    assert (await bench.refused("/training/trigger", again, 409))[0] == "conflict"
    assert (await bench.post("/training/trigger", {"strategy_id": "reversal"})).status_code == 202

    async with bench.engine.begin() as connection:
        await connection.execute(update(tables.training_runs).values(state="failed", finished_at=NOON))
    assert (await bench.post("/training/trigger", again)).status_code == 202


async def test_a_trigger_that_names_nothing_takes_the_first_strategy_and_symbol(bench):
    for content in (b"", b"{}"):
        answer = await bench.client.post("/api/v1/training/trigger", content=content)

        assert answer.status_code == (202 if not content else 409), answer.text

    async with bench.engine.connect() as connection:
        [run] = await training_runs.recent(connection)
    assert (run.strategy_id, run.symbol) == ("momentum", "BTCUSDT")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"strategy_id": "unknown"}, 404),
        ({"symbol": "DOGEUSDT"}, 404),
        ({"symbol": "btc/usdt"}, 400),
        ({"strategy_id": ""}, 400),
        ({"strategy": "momentum"}, 400),
    ],
)
async def test_a_trigger_for_what_is_not_traded_here_is_refused(bench, body, status):
    await bench.refused("/training/trigger", body, status)

    async with bench.engine.connect() as connection:
        assert await training_runs.recent(connection) == []


async def test_without_configured_symbols_a_trigger_has_to_name_one(database_url, amqp_url, tmp_path):
    async with running_api(
        database_url, amqp_url, tmp_path, trading_symbols=(), trading_strategies=()
    ) as bench:
        assert "TRADING_SYMBOLS" in (await bench.refused("/training/trigger", {}, 422))[1]

        answer = await bench.post("/training/trigger", {"symbol": "SOLUSDT"})
        assert (answer.status_code, answer.json()["strategy_id"]) == (202, "default")


def a_run(state, *, strategy_id="momentum", symbol="BTCUSDT", at=NOON, **values):
    return {
        "run_id": uuid4(),
        "strategy_id": strategy_id,
        "symbol": symbol,
        "trigger": "manual",
        "priority": "NORMAL",
        "state": state,
        "requested_at": at,
        "started_at": None,
        "finished_at": None,
        "reason": None,
        "figures": None,
        "progress": None,
        "version": None,
        "recoveries": 0,
        "trace_id": "t",
    } | values


async def test_an_idle_fleet_has_a_status_with_every_field_of_the_contract(bench):
    status = await bench.get("/training/status")

    assert status == {
        "is_training": False,
        "current_training": None,
        "last_training": None,
        "next_scheduled_training": None,
        "queue_size": 0,
        "queue_wait_time_seconds": None,
        "next_queued_training_strategy_id": None,
        "pending_dataset_builds": 0,
        "metrics": {
            "total_runs": 0,
            "succeeded": 0,
            "rejected": 0,
            "failed": 0,
            "cancelled": 0,
            "recovered": 0,
            "success_rate": None,
            "average_duration_seconds": None,
            "max_duration_seconds": None,
            "average_wait_seconds": None,
            "max_wait_seconds": None,
            "max_queue_depth": 0,
        },
        "strategies": [
            {
                "strategy_id": name,
                "is_training": False,
                "last_training": None,
                "next_scheduled_training": None,
                "queued": 0,
            }
            for name in TRADED["trading_strategies"]
        ],
    }


async def test_the_training_status_is_what_the_runs_say(bench):
    started, ended = NOON + timedelta(seconds=10), NOON + timedelta(seconds=40)
    recently = datetime.now(UTC) - timedelta(seconds=30)
    await bench.insert(
        tables.training_runs,
        a_run("succeeded", started_at=started, finished_at=ended, version="v1", recoveries=2),
        a_run("rejected", finished_at=ended + timedelta(hours=1), reason="no target", figures={"rows": 0}),
        a_run("failed", strategy_id="reversal", started_at=started, finished_at=ended + timedelta(hours=2)),
        a_run("running", started_at=recently, at=recently, progress={"round": 12}),
        a_run("building", strategy_id="reversal", at=recently),
        a_run("requested", strategy_id="reversal", symbol="ETHUSDT", at=recently),
    )

    fleet = await bench.get("/training/status")
    momentum = await bench.get("/training/status", strategy_id="momentum")

    assert fleet["is_training"]
    assert fleet["current_training"]["progress"] == {"round": 12}
    assert fleet["last_training"]["state"] == "failed"
    assert (fleet["queue_size"], fleet["pending_dataset_builds"]) == (1, 1)
    assert fleet["next_queued_training_strategy_id"] == "reversal"
    assert 30 <= fleet["queue_wait_time_seconds"] < 90
    assert fleet["metrics"] == {
        "total_runs": 3,
        "succeeded": 1,
        "rejected": 1,
        "failed": 1,
        "cancelled": 0,
        "recovered": 2,
        "success_rate": pytest.approx(1 / 3),
        "average_duration_seconds": 30.0,
        "max_duration_seconds": 30.0,
        "average_wait_seconds": pytest.approx(20 / 3),
        "max_wait_seconds": 10.0,
        "max_queue_depth": 3,
    }
    assert (momentum["queue_size"], momentum["pending_dataset_builds"]) == (0, 0)
    last = momentum["last_training"]
    assert (last["state"], last["reason"], last["figures"]) == ("rejected", "no target", {"rows": 0})


async def test_runs_are_listed_newest_first_and_shown_one_by_one(bench):
    oldest, newest = a_run("succeeded", version="v1"), a_run("building", at=NOON + timedelta(minutes=2))
    other = a_run("failed", strategy_id="reversal", at=NOON + timedelta(minutes=1), reason="no memory")
    await bench.insert(tables.training_runs, oldest, newest, other)

    async def listed(**query):
        return [item["run_id"] for item in (await bench.get("/training/runs", **query))["items"]]

    assert await listed() == [str(run["run_id"]) for run in (newest, other, oldest)]
    assert await listed(strategy_id="momentum", limit=1) == [str(newest["run_id"])]
    assert await listed(strategy_id="unknown") == []
    shown = await bench.get(f"/training/runs/{other['run_id']}")
    assert (shown["strategy_id"], shown["state"], shown["reason"]) == ("reversal", "failed", "no memory")
    assert shown["requested_at"] == "2026-03-01T12:01:00Z"


async def test_a_run_that_there_is_not_is_404(bench):
    answer = await bench.client.get(f"/api/v1/training/runs/{uuid4()}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await bench.refused(f"/training/runs/{uuid4()}/cancel", {"reason": "x"}, 404))[0] == "not_found"


@pytest.mark.parametrize("state", training_runs.UNFINISHED)
async def test_an_unfinished_run_is_cancelled_once_with_actor_and_reason(bench, state):
    run = a_run(state, owner="trainer-1", lease_until=datetime.now(UTC) + timedelta(seconds=15))
    await bench.insert(tables.training_runs, run)
    path = f"/training/runs/{run['run_id']}/cancel"

    await bench.refused(path, {"actor": "ada"}, 400)
    answer = await bench.post(path, {"actor": "ada", "reason": "the exchange had an outage"})

    shown = answer.json()
    assert answer.status_code == 200, answer.text
    assert (shown["state"], shown["cancel_actor"]) == ("cancelled", "ada")
    assert shown["cancel_reason"] == "the exchange had an outage"
    assert shown["reason"] == "cancelled by ada: the exchange had an outage"
    assert shown["finished_at"] == shown["cancel_requested_at"]
    code, detail = await bench.refused(path, {"reason": "again"}, 409)
    assert (code, detail) == ("conflict", "the run has ended already: cancelled")
    assert (await bench.get("/training/status"))["metrics"]["cancelled"] == 1


async def test_a_full_queue_refuses_and_says_how_full_it_is(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path, training_queue_max_size=1) as bench:
        assert (await bench.post("/training/trigger", {})).status_code == 202

        code, detail = await bench.refused("/training/trigger", {"strategy_id": "reversal"}, 429)

    assert code == "queue_full"
    assert detail == "the queue is full: 1 trainings wait, TRAINING_QUEUE_MAX_SIZE is 1"


async def test_without_a_queue_a_second_training_is_refused_until_the_first_has_ended(
    database_url, amqp_url, tmp_path
):
    async with running_api(database_url, amqp_url, tmp_path, training_queue_enabled=False) as bench:
        run_id = (await bench.post("/training/trigger", {})).json()["run_id"]
        code, detail = await bench.refused("/training/trigger", {"strategy_id": "reversal"}, 409)
        await bench.post(f"/training/runs/{run_id}/cancel", {"reason": "not now"})
        answer = await bench.post("/training/trigger", {"strategy_id": "reversal"})

    assert code == "queue_disabled"
    assert "TRAINING_QUEUE_ENABLED" in detail
    assert answer.status_code == 202


async def test_a_more_urgent_trigger_makes_the_waiting_run_as_urgent(bench):
    first = (await bench.post("/training/trigger", {"priority": "NORMAL", "actor": "ada"})).json()
    second = (await bench.post("/training/trigger", {"priority": "CRITICAL"})).json()

    assert first["run_id"] == second["run_id"]
    run = await bench.get(f"/training/runs/{first['run_id']}")
    assert (run["priority"], run["requested_by"]) == ("CRITICAL", "ada")
    assert (await bench.refused("/training/trigger", {"priority": "CRITICAL"}, 409))[0] == "conflict"


async def test_the_status_says_when_the_next_training_is_due(database_url, amqp_url, tmp_path):
    trained_at = datetime.now(UTC) - timedelta(days=1)
    async with running_api(database_url, amqp_url, tmp_path, model_retraining_interval_days=3) as bench:
        before = (await bench.get("/training/status"))["next_scheduled_training"]
        await bench.version(trained_at=trained_at)
        after = (await bench.get("/training/status"))["next_scheduled_training"]
        other = (await bench.get("/training/status", strategy_id="reversal"))["next_scheduled_training"]

    assert before is other is None
    assert datetime.fromisoformat(after) == trained_at + timedelta(days=3)


# Idempotency, datasets alone, the schedule


async def triggered(bench, body, key, path="/training/trigger"):
    return await bench.client.post(f"/api/v1{path}", json=body, headers={"Idempotency-Key": key})


async def test_the_same_key_asks_for_the_same_run_whatever_became_of_it(bench):
    body = {"strategy_id": "reversal", "symbol": "ETHUSDT"}
    answers = await asyncio.gather(*(triggered(bench, body, "k-1") for _ in range(4)))

    assert {answer.status_code for answer in answers} == {202}
    [run_id] = {answer.json()["run_id"] for answer in answers}
    async with bench.engine.begin() as connection:
        await connection.execute(update(tables.training_runs).values(state="failed", finished_at=NOON))
    assert (await triggered(bench, body, "k-1")).json()["run_id"] == run_id
    assert (await triggered(bench, body, "k-2")).json()["run_id"] != run_id
    actions = (await bench.get("/monitoring/audit", action="trigger_training"))["items"]
    assert len(actions) == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/training/trigger", {"strategy_id": "reversal"}),
        ("/training/trigger", {"symbol": "ETHUSDT"}),
        ("/training/datasets", {}),
    ],
)
async def test_a_key_of_another_request_is_refused(bench, path, body):
    await triggered(bench, {}, "k-1")

    answer = await triggered(bench, body, "k-1", path)

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")


async def test_a_key_that_no_header_should_carry_is_400(bench):
    for key in ("", "k" * 101, "a b"):
        assert (await triggered(bench, {}, key)).status_code == 400


async def test_a_full_queue_says_when_to_ask_again(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path, training_queue_max_size=1) as bench:
        await bench.post("/training/datasets", {})

        answer = await bench.post("/training/trigger", {"strategy_id": "reversal"})

    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_dataset_alone_waits_in_the_queue_and_is_no_training(bench):
    answer = await bench.post("/training/datasets", {"strategy_id": "reversal", "actor": "ada"})

    said = answer.json()
    assert answer.status_code == 202, answer.text
    run = await bench.get(f"/training/runs/{said['run_id']}")
    assert (run["dataset_only"], run["priority"], run["state"]) == (True, "NORMAL", "requested")
    assert (run["symbol"], run["requested_by"]) == ("BTCUSDT", "ada")
    code, detail = await bench.refused("/training/trigger", {"strategy_id": "reversal"}, 409)
    assert (code, detail) == ("conflict", "a dataset of strategy reversal on BTCUSDT is not finished yet")
    [action] = (await bench.get("/monitoring/audit"))["items"]
    assert action["action"] == "build_dataset"

    async with bench.engine.begin() as connection:
        await connection.execute(update(tables.training_runs).values(state="succeeded", finished_at=NOON))
    status = await bench.get("/training/status")
    assert status["metrics"]["total_runs"] == 0
    assert status["strategies"][1]["last_training"]["dataset_only"]


async def test_runs_are_filtered_by_state_and_paged(bench):
    runs = [a_run("succeeded", at=NOON + timedelta(minutes=n)) for n in range(3)]
    await bench.insert(tables.training_runs, *runs, a_run("failed", at=NOON))

    page = await bench.get("/training/runs", state="succeeded", limit=1, offset=1)

    assert [item["run_id"] for item in page["items"]] == [str(runs[1]["run_id"])]
    assert (page["total"], page["limit"], page["offset"]) == (3, 1, 1)
    answer = await bench.client.get("/api/v1/training/runs", params={"state": "nowhere"})
    assert answer.status_code == 400


async def test_the_schedule_tells_the_next_times_of_every_strategy(database_url, amqp_url, tmp_path):
    trained_at = datetime.now(UTC) - timedelta(days=1)
    async with running_api(database_url, amqp_url, tmp_path, model_retraining_interval_days=3) as bench:
        await bench.version(trained_at=trained_at)
        await bench.insert(
            tables.training_runs,
            a_run("succeeded", at=NOON, finished_at=datetime.now(UTC), dataset_only=True),
        )

        momentum, reversal = (await bench.get("/training/schedule"))["items"]

    assert [datetime.fromisoformat(at) - trained_at for at in momentum["next_at"]] == [
        timedelta(days=3 * n) for n in range(1, 6)
    ]
    assert (momentum["strategy_id"], momentum["interval_days"]) == ("momentum", 3.0)
    assert datetime.fromisoformat(momentum["last_trained_at"]) == trained_at
    assert (reversal["next_at"], reversal["last_trained_at"]) == ([], None)
    assert "no version" in reversal["reason"]
