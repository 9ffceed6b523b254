"""Strategies over HTTP: what they do, whether they may, and by which rules their positions are closed."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.test_api import a_lifecycle, running_api

from common import tables
from exit_strategy.settings import Settings as ExitSettings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATES = {"pause": "HALTED", "reduce": "REDUCING", "resume": "ACTIVE"}
BECAUSE = {"actor": "ann", "reason": "live quality dropped"}
STRATEGIES_FILE = """
[momentum]
symbols = ["BTCUSDT"]
stop_loss_threshold_pct = -1.5

[momentum.symbol.BTCUSDT]
trailing_stop_enabled = true
trailing_stop_distance_pct = 3.0

[reversal]
symbols = ["ETHUSDT", "BTCUSDT"]
model_service_take_profit_pct = 1.0
"""


@pytest.fixture
async def api(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as running:
        yield running


async def strategies(api):
    return {each["strategy_id"]: each for each in (await api.get("/strategies"))["items"]}


async def test_a_strategy_shows_its_newest_decision_over_all_of_its_symbols(api):
    def outcome(symbol, minute, **changes):
        return {
            "strategy_id": "momentum",
            "symbol": symbol,
            "feature_timestamp": NOON,
            "decided_at": NOON + timedelta(minutes=minute),
            "outcome": "skip",
            "reason": "hold",
            "facts": {"up": 0.4},
            "version": "v3",
            "replica": "one",
        } | changes

    await api.insert(
        tables.latest_outcomes,
        outcome("BTCUSDT", 1),
        outcome("ETHUSDT", 2, reason="open_order"),
        outcome("BTCUSDT", 3, strategy_id="gone"),
    )

    found = await strategies(api)

    assert found["momentum"]["last_outcome"] == {
        "symbol": "ETHUSDT",
        "outcome": "skip",
        "reason": "open_order",
        "decided_at": "2026-03-01T12:02:00Z",
        "facts": {"up": 0.4},
    }
    assert found["reversal"]["last_outcome"] is None


async def test_a_strategy_shows_how_many_of_the_living_replicas_decide_for_it(api):
    def served(replica, state, age_s=1, strategy_id="momentum"):
        return {
            "replica": replica,
            "strategy_id": strategy_id,
            "state": state,
            "epoch": 1,
            "since": NOON,
            "heart_beat_at": datetime.now(UTC) - timedelta(seconds=age_s),
        }

    await api.insert(
        tables.served_versions,
        served("one", "serving"),
        served("two", "lagging"),
        served("three", "serving", age_s=300),
        served("one", "warm_up", strategy_id="reversal"),
    )

    found = await strategies(api)

    assert found["momentum"]["served_by"] == {"serving": 1, "alive": 2}
    assert found["reversal"]["served_by"] == {"serving": 1, "alive": 1}


@pytest.mark.parametrize(("command", "state"), STATES.items())
async def test_a_command_sets_the_state_that_the_put_would_set(api, command, state):
    by_command = await api.post(f"/strategies/momentum/{command}", BECAUSE)
    by_put = await api.client.put(
        "/api/v1/trading-states/strategy:reversal", json={"state": state, **BECAUSE}
    )

    assert (by_command.status_code, by_put.status_code) == (200, 200)
    stored, other = by_command.json(), by_put.json()
    assert (stored["scope"], stored["state"]) == ("strategy:momentum", state)
    assert stored.keys() == other.keys()
    history = (await api.get("/trading-states"))["changes"]
    assert [(each["scope"], each["state"], each["actor"], each["reason"]) for each in history] == [
        ("strategy:reversal", state, "ann", BECAUSE["reason"]),
        ("strategy:momentum", state, "ann", BECAUSE["reason"]),
    ]
    momentum = (await strategies(api))["momentum"]
    assert (momentum["trading_state"], momentum["state_scope"]) == (state, "strategy:momentum")
    assert (momentum["state_actor"], momentum["state_reason"]) == ("ann", BECAUSE["reason"])
    audited = (await api.get("/monitoring/audit"))["items"]
    assert [(each["action"], each["subject"], each["actor"], each["details"]) for each in audited] == [
        ("set_trading_state", "strategy:reversal", "ann", {"state": state, "before": None}),
        ("set_trading_state", "strategy:momentum", "ann", {"state": state, "before": None}),
    ]


async def test_a_command_without_a_name_is_the_keys(api):
    answer = await api.post("/strategies/momentum/pause", {"reason": "looks odd"})

    assert (answer.status_code, answer.json()["actor"]) == (200, "api")


@pytest.mark.parametrize("command", STATES)
async def test_a_command_needs_a_strategy_and_a_reason(api, command):
    unknown = await api.post(f"/strategies/unknown/{command}", BECAUSE)
    answers = [
        await api.post(f"/strategies/momentum/{command}", body)
        for body in (None, {}, {"actor": "ann"}, {"reason": ""}, {**BECAUSE, "state": "ACTIVE"})
    ]

    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert [answer.status_code for answer in answers] == [400] * 5
    assert (await api.get("/monitoring/audit"))["items"] == []
    assert (await api.get("/trading-states"))["changes"] == []


async def test_of_fleet_and_strategy_the_stricter_one_says_why(api):
    await api.client.put("/api/v1/trading-states/fleet", json={"state": "REDUCING", **BECAUSE})
    await api.post("/strategies/momentum/pause", {"actor": "bob", "reason": "odd"})
    await api.post("/strategies/reversal/resume", {"actor": "bob", "reason": "fine"})

    found = await strategies(api)

    assert [found["momentum"][name] for name in ("trading_state", "state_scope", "state_reason")] == [
        "HALTED",
        "strategy:momentum",
        "odd",
    ]
    assert [found["reversal"][name] for name in ("trading_state", "state_scope", "state_actor")] == [
        "REDUCING",
        "fleet",
        "ann",
    ]


# Exit rules


@pytest.fixture
async def configured(database_url, amqp_url, tmp_path):
    path = tmp_path / "strategies.toml"
    path.write_text(STRATEGIES_FILE)
    async with running_api(database_url, amqp_url, tmp_path, strategies_file=path) as running:
        yield running, ExitSettings(trading_strategies=("momentum", "reversal"), strategies_file=path)


async def rules_in_force(api, strategy_id, **query):
    found = await api.get(f"/strategies/{strategy_id}/exit-rules", **query)
    return found, {each["name"]: each for each in found["rules"]}


@pytest.mark.parametrize(
    ("strategy_id", "symbol"),
    [("momentum", "BTCUSDT"), ("momentum", "ETHUSDT"), ("reversal", "ETHUSDT"), ("unattributed", "BTCUSDT")],
)
async def test_the_rules_are_those_that_an_exit_worker_has(configured, strategy_id, symbol):
    api, worker = configured

    found, _ = await rules_in_force(api, strategy_id, symbol=symbol)

    assert found["rules_version"] == worker.rules_of(strategy_id, symbol).version
    assert (found["strategy_id"], found["symbol"], found["enabled"]) == (strategy_id, symbol, True)


async def test_the_table_of_a_symbol_wins_over_its_strategys_and_that_over_the_environment(configured):
    api, _ = configured

    _, of_strategy = await rules_in_force(api, "momentum")
    found, of_symbol = await rules_in_force(api, "momentum", symbol="BTCUSDT")
    _, of_none = await rules_in_force(api, "unattributed")

    assert of_strategy["stop_loss"]["parameters"]["loss_pct"] == "1.5"
    assert not of_strategy["trailing_stop"]["enabled"]
    assert of_symbol["trailing_stop"]["parameters"]["distance_pct"] == "3"
    assert any("TRAILING_STOP_DISTANCE_PCT" in warning for warning in found["warnings"])
    assert of_none["stop_loss"]["parameters"]["loss_pct"] == "1.5"
    assert of_none["take_profit"]["parameters"]["ladder"] == [{"profit_pct": "1", "close_pct": "100"}]


async def test_a_position_that_was_held_against_other_rules_is_marked(configured):
    api, worker = configured

    await api.insert(
        tables.position_lifecycles,
        a_lifecycle("BTCUSDT", rules_version=worker.rules_of("momentum", "BTCUSDT").version),
        a_lifecycle("ETHUSDT", rules_version="0123456789ab"),
    )

    found, _ = await rules_in_force(api, "momentum")

    assert {each["symbol"]: each["is_current"] for each in found["positions"]} == {
        "BTCUSDT": True,
        "ETHUSDT": False,
    }


async def test_disabled_exits_leave_an_operators_close(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path, exit_strategy_enabled=False) as api:
        found, rules = await rules_in_force(api, "momentum")

    assert (found["enabled"], found["rules_version"]) == (False, None)
    assert [name for name, rule in rules.items() if rule["enabled"]] == ["operator"]


@pytest.mark.parametrize(("path", "status"), [("unknown", 404), ("momentum", 400)])
async def test_rules_of_nobody_are_404_and_of_no_symbol_400(api, path, status):
    query = "?symbol=btc" if path == "momentum" else ""

    assert (await api.client.get(f"/api/v1/strategies/{path}/exit-rules{query}")).status_code == status
