"""The event stream of a real API process: what is committed is told, to everybody who listens, once."""

import asyncio
import json
import signal
import socket
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import asyncpg
import httpx
import pytest
from sqlalchemy import insert, text, update
from tests.integration.api_process import KEY, PATIENCE_S, READ_ONLY, api_process

from common import tables, training_runs
from common.alerts import raise_alert, resolve_alert
from common.core.trading_state import TradingState
from common.trading_states import store_state


class Heard:
    """A client's end of the stream."""

    def __init__(self, answer):
        self.answer = answer
        self._blocks = self._read()

    async def _read(self):
        rest = ""
        async for chunk in self.answer.aiter_text():
            *blocks, rest = (rest + chunk).split("\n\n")
            for block in blocks:
                yield dict(line.split(": ", 1) for line in block.split("\n"))

    async def next(self):
        async with asyncio.timeout(PATIENCE_S):
            block = await anext(self._blocks)
        return block["event"], json.loads(block["data"]), block.get("id")

    async def event(self, name):
        found, told, _ = await self.next()
        assert found == name, told
        return told

    async def rest(self):
        async with asyncio.timeout(PATIENCE_S):
            return [block["event"] async for block in self._blocks]


@asynccontextmanager
async def hearing(api, key=KEY):
    async with (
        httpx.AsyncClient(timeout=PATIENCE_S) as client,
        client.stream("GET", f"{api.url}/api/v1/events", headers={"X-API-Key": key}) as answer,
    ):
        assert answer.status_code == 200
        heard = Heard(answer)
        assert (await heard.event("hello"))["at"]
        yield heard


@pytest.fixture
async def api(database_url, amqp_url, tmp_path):
    async with api_process(database_url, amqp_url, tmp_path) as running_api:
        yield running_api


def a_signal(**values):
    return {
        "signal_id": uuid4(),
        "strategy_id": "momentum",
        "asset": "BTCUSDT",
        "side": "buy",
        "price": Decimal("60000.50"),
        "timestamp": datetime.now(UTC).replace(tzinfo=None),
        "metadata": {},
        **values,
    }


def an_outcome(reason):
    now = datetime.now(UTC)
    return {
        "strategy_id": "momentum",
        "symbol": "BTCUSDT",
        "feature_timestamp": now,
        "decided_at": now,
        "outcome": "skip",
        "reason": reason,
        "replica": "r",
    }


async def test_the_stream_is_one_of_server_sent_events_that_nobody_keeps(api):
    async with hearing(api, key=READ_ONLY) as heard:
        headers = heard.answer.headers

    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"
    assert headers["x-trace-id"]


async def test_what_was_there_before_is_not_told_and_what_comes_is(api):
    await api.insert(tables.trading_signals, **a_signal())
    await api.insert(tables.latest_outcomes, **an_outcome("hold"))
    async with hearing(api) as heard:
        entry, close = a_signal(), a_signal(side="sell", metadata={"rule_triggered": "stop_loss"})
        await api.insert(tables.trading_signals, **entry)
        told = await heard.event("signal")
        await api.insert(tables.trading_signals, **close)
        exit_told = await heard.event("exit")

    assert told == {
        "signal_id": str(entry["signal_id"]),
        "strategy_id": "momentum",
        "symbol": "BTCUSDT",
        "side": "buy",
        "price": "60000.5",
        "timestamp": f"{entry['timestamp'].isoformat()}Z",
        "model_version": None,
        "is_warmup": False,
        "rule": None,
    }
    assert (exit_told["signal_id"], exit_told["rule"]) == (str(close["signal_id"]), "stop_loss")


async def test_a_skip_is_told_when_its_reason_changes_and_not_when_it_stays(api):
    await api.insert(tables.latest_outcomes, **an_outcome("hold"))

    async def decide(outcome, reason):
        async with api.engine.begin() as connection:
            changed = {"outcome": outcome, "reason": reason, "decided_at": datetime.now(UTC)}
            await connection.execute(update(tables.latest_outcomes).values(**changed))

    async with hearing(api) as heard:
        await decide("skip", "hold")
        await decide("skip", "open order")
        first = await heard.event("skip")
        await decide("signal", None)
        second = await heard.event("skip")
        await decide("skip", "open order")
        third = await heard.event("skip")

    assert first.items() >= {"strategy_id": "momentum", "symbol": "BTCUSDT"}.items()
    outcomes = [(told["outcome"], told["reason"]) for told in (first, second, third)]
    assert outcomes == [("skip", "open order"), ("signal", None), ("skip", "open order")]


async def test_activations_trainings_states_and_alerts_are_told(api):
    async with hearing(api) as heard:
        await api.insert(
            tables.activations,
            strategy_id="momentum",
            epoch=1,
            version="v1",
            sha256="0" * 64,
            actor="ada",
            reason="better",
        )
        activation = await heard.event("activation")
        async with api.engine.begin() as connection:
            run = await training_runs.request(
                connection,
                strategy_id="momentum",
                symbol="BTCUSDT",
                trigger="manual",
                priority="HIGH",
                trace_id="t",
                requested_by="ada",
            )
        training = await heard.event("training")
        async with api.engine.begin() as connection:
            progressed = update(tables.training_runs).values(
                state="running", progress={"step": 3}, updated_at=text("now()")
            )
            await connection.execute(progressed)
        progress = await heard.event("training")
        async with api.engine.begin() as connection:
            await store_state(connection, "fleet", TradingState.HALTED, actor="ada", reason="lunch")
        state = await heard.event("state")
        async with api.engine.begin() as connection:
            await raise_alert(connection, "dead_letters", "fleet", "one lies there")
        alert = await heard.event("alert")
        async with api.engine.begin() as connection:
            await raise_alert(connection, "dead_letters", "fleet", "two lie there")
            await raise_alert(connection, "dead_letters", "fleet", "two lie there", severity="critical")
        worse = await heard.event("alert")
        async with api.engine.begin() as connection:
            await resolve_alert(connection, "dead_letters", "fleet")
        over = await heard.event("alert")

    assert activation == {
        "strategy_id": "momentum",
        "version": "v1",
        "epoch": 1,
        "actor": "ada",
        "reason": "better",
    }
    assert (training["run_id"], training["state"]) == (str(run.run_id), "requested")
    assert (progress["state"], progress["progress"]) == ("running", {"step": 3})
    assert (state["scope"], state["state"], state["actor"]) == ("fleet", "HALTED", "ada")
    assert (alert["severity"], alert["resolved_at"]) == ("warning", None)
    assert (worse["severity"], worse["sentence"]) == ("critical", "two lie there")
    assert over["resolved_at"] is not None


async def test_a_command_over_the_api_is_heard(api):
    async with hearing(api) as heard, api.client() as client:
        answer = await client.put(
            "/api/v1/trading-states/strategy:momentum",
            json={"state": "REDUCING", "reason": "spread", "actor": "ada"},
        )
        told = await heard.event("state")

    assert answer.status_code == 200, answer.text
    assert (told["scope"], told["state"], told["reason"]) == ("strategy:momentum", "REDUCING", "spread")


async def test_rows_that_commit_out_of_order_are_all_told_and_each_once(api, database_url):
    rows = [a_signal() for _ in range(6)]
    connections = [await asyncpg.connect(database_url) for _ in rows]
    statement = """
        INSERT INTO trading_signals (signal_id, strategy_id, asset, side, price, timestamp, created_at)
        VALUES ($1, 'momentum', 'BTCUSDT', 'buy', 1, $2, now())
    """
    try:
        async with hearing(api) as heard:
            transactions = [connection.transaction() for connection in connections]
            for transaction, connection, row in zip(transactions, connections, rows, strict=True):
                await transaction.start()
                await connection.execute(statement, row["signal_id"], row["timestamp"])
            # The newest first, each only once the one before it was told.
            told = []
            for transaction in reversed(transactions):
                await transaction.commit()
                told.append((await heard.event("signal"))["signal_id"])
            await api.insert(tables.trading_signals, **a_signal(side="sell"))
            last = await heard.event("signal")
    finally:
        for connection in connections:
            await connection.close()

    assert told == [str(row["signal_id"]) for row in reversed(rows)]
    assert last["side"] == "sell"


async def test_everybody_who_listens_is_told_under_the_same_id(api):
    async with hearing(api) as one, hearing(api) as two:
        await api.insert(tables.trading_signals, **a_signal())

        assert await one.next() == await two.next()


async def test_after_a_silence_without_listeners_only_what_is_new_is_told(api):
    async with hearing(api) as heard:
        await api.insert(tables.trading_signals, **a_signal())
        await heard.event("signal")
    await statements_end(api)
    await api.insert(tables.trading_signals, **a_signal())
    async with hearing(api) as heard:
        late = a_signal()
        await api.insert(tables.trading_signals, **late)
        told = await heard.event("signal")

    assert told["signal_id"] == str(late["signal_id"])


async def statements_end(api):
    """Nobody looks any more: the gauge is back at zero."""
    async with httpx.AsyncClient() as client, asyncio.timeout(PATIENCE_S):
        while "flotilla_api_event_listeners 0.0" not in (await client.get(f"{api.url}/metrics")).text:
            await asyncio.sleep(0.05)


async def test_one_listener_too_many_is_told_to_come_later(database_url, amqp_url, tmp_path):
    limited = api_process(database_url, amqp_url, tmp_path, MODEL_SERVICE_MAX_EVENT_LISTENERS="1")
    async with limited as api, hearing(api), api.client() as client:
        answer = await client.get("/api/v1/events")

    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_listeners")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_stop_does_not_wait_for_those_who_listen(api, tmp_path):
    async with hearing(api) as one, hearing(api) as two:
        begun = time.monotonic()
        api.process.send_signal(signal.SIGTERM)
        endings = await one.rest(), await two.rest()
        await asyncio.wait_for(api.process.wait(), PATIENCE_S)
        took_s = time.monotonic() - begun

    assert endings == ([], [])
    assert took_s < 5
    log = (tmp_path / "log").read_text()
    assert '"event": "service stopped"' in log
    assert "exceeded" not in log


async def test_a_database_that_goes_away_ends_no_stream_and_loses_nothing(api, database_url):
    name = database_url.rpartition("/")[2]
    admin = await asyncpg.connect(database_url.rpartition("/")[0] + "/postgres")
    cut = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = $1 AND application_name = 'api'
    """
    try:
        async with hearing(api) as heard:
            await admin.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
            await admin.execute(cut, name)
            await api.insert(tables.trading_signals, **a_signal())
            await admin.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')

            await heard.event("signal")
    finally:
        await admin.close()


async def test_a_client_that_reads_nothing_is_cut_off_and_the_others_are_not(
    database_url, amqp_url, tmp_path
):
    async with api_process(database_url, amqp_url, tmp_path) as api, hearing(api) as heard:
        host, port = "127.0.0.1", int(api.url.rpartition(":")[2])
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect((host, port))
            deaf.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {KEY}\r\n\r\n".encode())
            await until_dropped(api, heard)


async def until_dropped(api, heard):
    reason = "x" * 20_000
    async with httpx.AsyncClient() as client, asyncio.timeout(60):
        while True:
            rows = [{"scope": "fleet", "state": "ACTIVE", "actor": "a", "reason": reason} for _ in range(40)]
            async with api.engine.begin() as connection:
                await connection.execute(insert(tables.trading_state_changes), rows)
            for _ in rows:
                await heard.event("state")
            if (
                "flotilla_api_event_listeners_dropped_total 1.0"
                in (await client.get(f"{api.url}/metrics")).text
            ):
                return
