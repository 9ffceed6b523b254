"""The API on trading states, replicas, modes, outcomes, bars, delays and alerts, over HTTP."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from structlog.testing import capture_logs
from tests.integration.test_api import running_api, until_ready

from api.events import Event
from common import tables
from common.alerts import raise_alert, resolve_alert
from common.core.trading_state import TradingState
from common.trading_states import tighten_state

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def bench(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as bench:
        await until_ready(bench.client)
        yield bench


async def put(bench, scope, state, **changes):
    body = {"state": state, "actor": "ann", "reason": "first day"} | changes
    return await bench.client.put(f"/api/v1/trading-states/{scope}", json=body)


@pytest.mark.parametrize("scope", ["fleet", "exits", "strategy:momentum"])
async def test_a_scope_is_halted_and_released_with_a_history(bench, scope):
    with capture_logs() as logged:
        halted = await put(bench, scope, "HALTED")
        released = await put(bench, scope, "ACTIVE", reason="looked at it")

    states = await bench.get("/trading-states")
    assert (halted.status_code, halted.json()["state"]) == (200, "HALTED")
    assert released.json().keys() == {"scope", "state", "actor", "reason", "changed_at"}
    assert [(each["scope"], each["state"], each["actor"]) for each in states["items"]] == [
        (scope, "ACTIVE", "ann")
    ]
    assert [(each["state"], each["reason"]) for each in states["changes"]] == [
        ("ACTIVE", "looked at it"),
        ("HALTED", "first day"),
    ]
    set_lines = [line for line in logged if line["event"] == Event.TRADING_STATE_SET]
    assert [(line["before"], line["state"]) for line in set_lines] == [(None, "HALTED"), ("HALTED", "ACTIVE")]


async def test_nothing_is_stored_before_anybody_said_so(bench):
    assert await bench.get("/trading-states") == {
        "initial": "ACTIVE",
        "items": [],
        "changes": [],
        "limit": 100,
    }


async def test_the_history_is_of_one_scope_where_that_is_asked_for_and_shows_what_tripped(bench):
    await put(bench, "fleet", "REDUCING")
    async with bench.engine.begin() as connection:
        await tighten_state(
            connection,
            "strategy:momentum",
            TradingState.REDUCING,
            actor="automatic trip",
            reason="the same answer",
            figures={"predictions": 100},
        )

    [change] = (await bench.get("/trading-states", scope="strategy:momentum"))["changes"]

    assert (change["actor"], change["figures"]) == ("automatic trip", {"predictions": 100})
    assert [each["trading_state"] for each in (await bench.get("/strategies"))["items"]] == [
        "REDUCING",
        "REDUCING",
    ]


@pytest.mark.parametrize(
    ("scope", "changes", "status"),
    [
        ("strategy:unknown", {}, 404),
        ("exits", {"state": "REDUCING"}, 422),
        ("everything", {}, 400),
        ("strategy:", {}, 400),
        ("fleet", {"state": "PAUSED"}, 400),
        ("fleet", {"reason": ""}, 400),
        ("fleet", {"actor": ""}, 400),
        ("fleet", {"actor": None}, 400),
        ("fleet", {"until": "tomorrow"}, 400),
    ],
)
async def test_a_state_that_means_nothing_changes_nothing(bench, scope, changes, status):
    answer = await put(bench, scope, **({"state": "HALTED"} | changes))

    assert answer.status_code == status, answer.text
    assert (await bench.get("/trading-states"))["items"] == []


async def test_a_strategy_that_is_no_longer_traded_can_still_be_released(bench):
    async with bench.engine.begin() as connection:
        await tighten_state(connection, "strategy:gone", TradingState.HALTED, actor="ann", reason="over")

    assert (await put(bench, "strategy:gone", "ACTIVE")).status_code == 200


async def test_replicas_show_what_they_serve_and_whether_they_are_alive(bench):
    def served(replica, **changes):
        return {
            "replica": replica,
            "strategy_id": "momentum",
            "state": "serving",
            "version": "v3",
            "sha256": "a" * 64,
            "epoch": 4,
            "since": NOON,
            "problem": None,
            "heart_beat_at": datetime.now(UTC),
        } | changes

    await bench.insert(tables.served_versions, served("one"))
    await bench.insert(
        tables.served_versions,
        served(
            "two",
            state="lagging",
            problem="bytes differ",
            heart_beat_at=datetime.now(UTC) - timedelta(minutes=5),
        ),
    )

    found = await bench.get("/fleet/replicas")

    assert found["total"] == 2
    shown = [(each["replica"], each["state"], each["problem"], each["is_alive"]) for each in found["items"]]
    assert shown == [("one", "serving", None, True), ("two", "lagging", "bytes differ", False)]


async def test_modes_are_listed_newest_first_with_their_figures(bench):
    await bench.insert(
        tables.mode_changes,
        *(
            {
                "strategy_id": "momentum",
                "epoch": epoch,
                "mode": mode,
                "version": version,
                "reason": "because",
                "figures": {"former_mode_hours": epoch},
                "changed_at": NOON + timedelta(hours=epoch),
            }
            for epoch, mode, version in ((0, "warm_up", None), (1, "model", "v1"))
        ),
    )

    found = await bench.get("/strategies/momentum/modes")

    assert [(each["epoch"], each["mode"], each["version"]) for each in found["items"]] == [
        (1, "model", "v1"),
        (0, "warm_up", None),
    ]
    assert found["items"][0]["figures"] == {"former_mode_hours": 1}
    assert (await bench.get("/strategies/reversal/modes"))["items"] == []
    assert (await bench.client.get("/api/v1/strategies/unknown/modes")).status_code == 404


async def test_the_latest_outcomes_say_why_there_was_no_signal(bench):
    def outcome(strategy_id, symbol, **changes):
        return {
            "strategy_id": strategy_id,
            "symbol": symbol,
            "feature_timestamp": NOON,
            "decided_at": NOON,
            "outcome": "skip",
            "reason": "open_order",
            "facts": {"order_id": "7"},
            "signal_id": None,
            "version": "v3",
            "replica": "one",
        } | changes

    await bench.insert(
        tables.latest_outcomes,
        outcome("momentum", "BTCUSDT"),
        outcome("momentum", "ETHUSDT", outcome="signal", reason=None, signal_id=uuid4(), facts={"amount": 1}),
        outcome("reversal", "BTCUSDT"),
    )

    everything = await bench.get("/monitoring/outcomes")
    [one] = (await bench.get("/monitoring/outcomes", strategy_id="momentum", symbol="BTCUSDT"))["items"]

    assert everything["total"] == 3
    assert (one["reason"], one["facts"], one["replica"]) == ("open_order", {"order_id": "7"}, "one")


async def test_bars_are_those_of_the_symbol_and_time_oldest_first(bench):
    await bench.insert(
        tables.minute_bars,
        *(
            {
                "symbol": symbol,
                "minute": NOON + timedelta(minutes=minute),
                "open": Decimal("100.50"),
                "high": Decimal(101),
                "low": Decimal(100),
                "close": Decimal(100 + minute),
                "first_at": NOON,
                "last_at": NOON,
                "vectors": 80,
            }
            for symbol in ("BTCUSDT", "ETHUSDT")
            for minute in range(5)
        ),
    )

    async def closes(**query):
        found = await bench.get("/monitoring/bars", symbol="BTCUSDT", **query)
        return [each["close"] for each in found["items"]]

    range_ = {"from": "2026-03-01T12:01:00Z", "to": "2026-03-01T12:03:00"}
    assert await closes(**range_) == ["101", "102", "103"]
    assert await closes(**range_, limit=2) == ["102", "103"]
    assert await closes(to="2026-03-01T12:00:59Z") == ["100"]
    assert await closes() == []
    first = (await bench.get("/monitoring/bars", symbol="BTCUSDT", **range_))["items"][0]
    assert (first["open"], first["vectors"], first["minute"]) == ("100.5", 80, "2026-03-01T12:01:00Z")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "symbol=btc",
        "symbol=BTCUSDT&from=yesterday",
        "symbol=BTCUSDT&since=2026-03-01",
        "symbol=BTCUSDT&limit=0",
    ],
)
async def test_bars_of_nothing_or_of_no_time_are_400(bench, query):
    assert (await bench.client.get(f"/api/v1/monitoring/bars?{query}")).status_code == 400


async def test_alerts_are_listed_newest_first_and_those_that_are_over_can_be_left_out(bench):
    for kind in ("processing_delay", "too_many_signals"):
        async with bench.engine.begin() as connection:
            await raise_alert(connection, kind, "fleet", "look here", figures={"n": 1})
    async with bench.engine.begin() as connection:
        await resolve_alert(connection, "processing_delay", "fleet")

    async def kinds(**query):
        return [each["kind"] for each in (await bench.get("/monitoring/alerts", **query))["items"]]

    assert await kinds() == ["too_many_signals", "processing_delay"]
    assert await kinds(only_open=True) == ["too_many_signals"]
    assert await kinds(limit=1) == ["too_many_signals"]


async def test_the_processing_delay_has_the_fields_of_the_contract(bench):
    empty = await bench.get("/monitoring/signals/processing-delay", hours=1)
    now = datetime.now(UTC)
    await bench.insert(
        tables.signal_outbox,
        *(
            {
                "signal_id": uuid4(),
                "kind": "entry",
                "strategy_id": "momentum",
                "symbol": "BTCUSDT",
                "side": "buy",
                "amount_quote": Decimal(100),
                "payload": "{}",
                "trace_id": "t",
                "valid_until": now,
                "state": "published",
                "owner": "test",
                "lease_until": now,
                "created_at": now - timedelta(hours=hours, seconds=1),
                "published_at": now - timedelta(hours=hours, seconds=1 - delay_s),
            }
            for hours, delay_s in ((0, 0.2), (0, 0.4), (2, 0.9))
        ),
    )

    last_hour = await bench.get("/monitoring/signals/processing-delay", hours=1)
    last_day = await bench.get("/monitoring/signals/processing-delay")

    assert (empty["total_signals"], empty["average_delay_seconds"]) == (0, None)
    assert last_hour.keys() == {
        "total_signals",
        "average_delay_seconds",
        "max_delay_seconds",
        "bucket_counts",
        "last_reset",
    }
    assert last_hour["average_delay_seconds"] == pytest.approx(0.3)
    assert last_hour["bucket_counts"]["<0.25"] == last_hour["bucket_counts"]["<0.5"] == 1
    assert (last_day["total_signals"], last_day["max_delay_seconds"]) == (3, pytest.approx(0.9))
