"""The command line against a running API, a real database and a real broker."""

import asyncio
import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, update
from tests.integration.api_process import KEY, READ_ONLY, api_process
from tests.integration.test_api import Bench

from api.cli import main
from common import tables

NOW = datetime.now(UTC)
SCRIPT = Path(sys.executable).parent / "flotilla"


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def flotilla(*arguments, err=None):
    out, err = io.StringIO(), err or io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code or 0
    return Ran(code, out.getvalue(), err.getvalue())


class Fleet(Bench):
    """A running API process; the bench's hand on its database and model storage."""

    def __init__(self, url, engine, storage):
        super().__init__(None, engine, storage)
        self.url = url

    async def run(self, *arguments, **more):
        return await asyncio.to_thread(flotilla, *arguments, **more)

    async def said(self, *arguments):
        ran = await self.run(*arguments)
        assert (ran.code, ran.err) == (0, ""), ran
        return ran.out

    async def asked(self, path):
        async with httpx.AsyncClient(base_url=self.url, headers={"X-API-Key": KEY}) as client:
            found = await client.get(f"/api/v1{path}")
        assert found.status_code == 200, found.text
        return found.text


@pytest.fixture
async def fleet(database_url, amqp_url, tmp_path, monkeypatch):
    async with api_process(database_url, amqp_url, tmp_path) as api:
        await until_ready(api)
        environment = {"FLOTILLA_URL": api.url, "MODEL_SERVICE_API_KEY": KEY, "FLOTILLA_ACTOR": "ann"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield Fleet(api.url, api.engine, tmp_path)


async def until_ready(api):
    async with api.client() as client, asyncio.timeout(20):
        while (await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.05)


def outcome(**changes):
    return {
        "strategy_id": "momentum",
        "symbol": "BTCUSDT",
        "feature_timestamp": NOW,
        "decided_at": NOW,
        "outcome": "skip",
        "reason": "balance_stale",
        "facts": {"of": "quote", "age_s": 75.2, "limit_s": 60.0},
        "version": "v3",
        "replica": "one",
    } | changes


def lifecycle(symbol="BTCUSDT"):
    return {
        "lifecycle_id": uuid4(),
        "symbol": symbol,
        "side": "long",
        "opened_at": NOW,
        "strategy_id": "momentum",
        "entry_price": 100,
        "size": 2,
        "peak_price": 104,
        "newest_event_at": NOW,
    }


def letter(reason="no such field"):
    return {
        "letter_id": uuid4(),
        "queue": "features.live",
        "service": "inference",
        "reason": reason,
        "body": b"{}",
        "headers": {},
        "trace_id": "t-1",
        "failed_at": NOW,
    }


def signal(side="buy"):
    return {
        "signal_id": uuid4(),
        "strategy_id": "momentum",
        "asset": "BTCUSDT",
        "side": side,
        "price": 100,
        "timestamp": NOW.replace(tzinfo=None),
        "model_version": "v3",
        "amount_quote": 250,
    }


async def test_every_listing_is_a_table_and_its_json_is_the_answer_of_the_api(fleet):
    version = await fleet.version()
    alert = {"alert_id": uuid4(), "kind": "position_blind", "scope": "symbol:BTCUSDT", "severity": "critical"}
    await fleet.insert(tables.alerts, alert | {"sentence": "BTCUSDT had no usable price for 40 s"})
    await fleet.insert(tables.dead_letters, letter())
    await fleet.insert(tables.trading_signals, signal())
    await fleet.insert(tables.latest_outcomes, outcome())

    for arguments, path, shown in [
        (("models", "list"), "/models?limit=100&offset=0", version),
        (("models", "show", version), f"/models/{version}", "accepted because of the figures"),
        (
            ("models", "compare", version, version),
            f"/models/{version}/compare/{version}",
            "left v1, right v1",
        ),
        (("models", "history", "momentum"), "/strategies/momentum/activations", "no version was ever"),
        (("training", "runs"), "/training/runs?limit=20", "no training was requested yet"),
        (("state", "show"), "/trading-states?limit=10", "ACTIVE holds (TRADING_STATE_INITIAL)"),
        (("signals", "list"), "/signals?limit=20", "250"),
        (("dlq", "list"), "/monitoring/dead-letters?state=open&limit=20", "no such field"),
        (("alerts",), "/monitoring/alerts?only_open=true", "no usable price for 40 s"),
        (("why", "btcusdt"), "/monitoring/outcomes?symbol=BTCUSDT", "It is 75.2 s old, 60 s are allowed."),
    ]:
        said = await fleet.said(*arguments)
        exact = await fleet.said(*arguments, "--json")

        assert shown in said, arguments
        assert exact == await fleet.asked(path) + "\n", arguments
        assert "\x1b" not in said, "no colours without a terminal"


async def test_health_and_trainings_are_shown_though_they_never_answer_twice_the_same(fleet):
    health = await fleet.said("health")
    details = json.loads(await fleet.said("health", "--json"))
    schedule = await fleet.said("training", "schedule")
    status = await fleet.said("training", "status")

    assert "model-service is " in health
    assert "replicas: 0 alive" in health
    assert details["database_connected"]
    assert "momentum" in schedule
    assert "first training is requested" in schedule
    assert "0 waiting" in status


async def test_a_version_is_activated_compared_and_rolled_back(fleet):
    first, second, doubtful = [
        await fleet.version(verdict=each) for each in ("accepted", "accepted", "refused")
    ]

    assert await fleet.said("models", "activate", first) == f"momentum trades with {first}, epoch 1\n"
    await fleet.said("models", "activate", second, "--reason", "newer", "--expected-epoch", "1")
    back = await fleet.said("models", "rollback", "momentum", "--reason", "worse in the evening")
    refused = await fleet.run("models", "activate", doubtful)
    late = await fleet.run("models", "activate", second, "--expected-epoch", "1")
    unknown = await fleet.run("models", "show", "v99")

    assert back == f"momentum trades with {first}, epoch 3\n"
    assert (refused.code, late.code, unknown.code) == (1, 1, 1)
    assert refused.err.startswith("flotilla: ")
    assert refused.err.count("\n") == 1
    assert "force" in refused.err
    assert unknown.err == "flotilla: no such version (not_found)\n"
    newest, *_ = await fleet.history()
    assert (newest.actor, newest.reason) == ("ann", "worse in the evening")


async def test_trading_is_paused_reduced_and_resumed(fleet):
    assert "HALTED" in await fleet.said("state", "pause", "fleet", "--reason", "the exchange is down")
    await fleet.said("state", "reduce", "momentum", "--reason", "its quality dropped")
    await fleet.said("state", "resume", "fleet", "--reason", "it is back")
    unknown = await fleet.run("state", "pause", "nobody", "--reason", "by mistake")
    shown = await fleet.said("state", "show")

    async with fleet.engine.connect() as connection:
        stored = (await connection.execute(select(tables.trading_states))).all()
    assert {(row.scope, row.state, row.actor) for row in stored} == {
        ("fleet", "ACTIVE", "ann"),
        ("strategy:momentum", "REDUCING", "ann"),
    }
    assert "the exchange is down" in shown
    assert unknown.code == 1
    assert "no such strategy" in unknown.err


async def test_a_reason_is_not_left_out(fleet):
    ran = await fleet.run("state", "pause", "fleet")

    assert ran.code == 2
    assert "--reason" in ran.err


async def test_letters_are_read_replayed_and_discarded(fleet):
    one, other = letter(), letter("too old")
    await fleet.insert(tables.dead_letters, one, other)

    shown = await fleet.said("dlq", "show", str(one["letter_id"]))
    refused = await fleet.run("dlq", "replay", str(one["letter_id"]), "--reason", "once more")
    settled = await fleet.said("dlq", "discard", str(other["letter_id"]), "--reason", "known")

    assert "no such field" in shown
    assert refused.code == 1
    assert "not_replayable" in refused.err
    assert settled.endswith("discarded\n")
    assert "too old" not in await fleet.said("dlq", "list")
    assert "too old" in await fleet.said("dlq", "list", "--state", "all")


async def test_a_position_is_closed(fleet):
    await fleet.insert(tables.position_lifecycles, lifecycle())

    listed = await fleet.said("positions", "list")
    said = await fleet.said("positions", "close", "btcusdt", "--reason", "the news")
    again = await fleet.run("positions", "close", "ETHUSDT", "--reason", "the news")

    assert "long" in listed
    assert said == "BTCUSDT is being closed: the news\n"
    assert again.code == 1
    async with fleet.engine.connect() as connection:
        asked = (await connection.execute(select(tables.position_lifecycles))).one()
    assert (asked.close_actor, asked.close_reason) == ("ann", "the news")


async def advance(fleet, **values):
    async with fleet.engine.begin() as connection:
        await connection.execute(update(tables.training_runs).values(**values))


async def until(holds):
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("rejected", 5)])
async def test_waiting_for_a_training_tells_its_steps_and_ends_with_it(fleet, state, code):
    heard = io.StringIO()
    waiting = asyncio.create_task(
        fleet.run("training", "trigger", "--strategy", "momentum", "--symbol", "btcusdt", "--wait", err=heard)
    )
    await until(lambda: "requested" in heard.getvalue())
    await advance(fleet, state="running", started_at=NOW, progress={"stage": "fit", "round": 12})
    await until(lambda: "fit\n" in heard.getvalue())
    await advance(fleet, state=state, progress=None, finished_at=NOW, reason="because of the figures")
    ran = await waiting

    assert ran.code == code
    assert ran.err.startswith(f"requested\nfit\n{state}\n")
    assert f"momentum on BTCUSDT {state}" in ran.out


async def test_a_training_is_triggered_once_and_cancelled(fleet):
    trigger = (
        "training",
        "trigger",
        "--strategy",
        "momentum",
        "--symbol",
        "BTCUSDT",
        "--key",
        "k-1",
        "--json",
    )

    first = json.loads(await fleet.said(*trigger))
    again = json.loads(await fleet.said(*trigger))
    conflict = await fleet.run("training", "trigger", "--strategy", "momentum", "--symbol", "BTCUSDT")
    listed = await fleet.said("training", "runs", "--state", "requested")
    cancelled = await fleet.said("training", "cancel", first["run_id"], "--reason", "not today")
    shown = await fleet.said("training", "show", first["run_id"])

    assert UUID(first["run_id"]) == UUID(again["run_id"])
    assert conflict.code == 1
    assert first["run_id"] in listed
    assert "cancelled" in cancelled
    assert "not today" in shown


async def test_the_key_is_read_from_a_file_and_a_wrong_one_has_its_own_exit_code(
    fleet, tmp_path, monkeypatch
):
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.setenv("MODEL_SERVICE_API_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.delenv("MODEL_SERVICE_API_KEY")
    by_file = await fleet.run("models", "list")
    (tmp_path / "key").write_text("not-the-key")
    wrong = await fleet.run("models", "list")
    (tmp_path / "key").write_text(READ_ONLY)
    forbidden = await fleet.run("state", "pause", "fleet", "--reason", "to see what happens")

    assert (by_file.code, by_file.out) == (0, "no version\n")
    assert wrong.code == 4
    assert "X-API-Key is missing or wrong" in wrong.err
    assert forbidden.code == 4
    assert "this key may only read" in forbidden.err


async def test_the_installed_command_works_without_a_terminal(fleet):
    await fleet.insert(tables.latest_outcomes, outcome(decided_at=datetime.now(UTC) - timedelta(hours=2)))

    ran = await asyncio.to_thread(
        subprocess.run,
        [SCRIPT, "why", "BTCUSDT"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "momentum on BTCUSDT: no signal 2 h 0 min ago, balance_stale (v3)." in ran.stdout
    assert "Nothing was decided since" in ran.stdout
