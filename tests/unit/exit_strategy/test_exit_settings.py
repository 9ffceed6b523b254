from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import ValidationError

from common.core.exits.rules import Rules
from exit_strategy.settings import Settings


def rules(monkeypatch, **environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings().rules()


def test_the_defaults_are_a_stop_at_2_and_a_target_at_3_percent(monkeypatch):
    of = rules(monkeypatch)

    assert of.stop_loss.loss_pct == 2
    assert [(stage.profit_pct, stage.close_pct) for stage in of.take_profit.ladder] == [(3, 100)]
    assert (of.trailing_stop, of.time_limit) == (None, None)


@pytest.mark.parametrize("value", ["-1.9", "1.9"])
def test_the_sign_of_the_stop_does_not_matter_and_its_digits_stay(monkeypatch, value):
    assert rules(monkeypatch, STOP_LOSS_THRESHOLD_PCT=value).stop_loss.loss_pct == Decimal("1.9")


def test_a_configured_zero_stays_zero(monkeypatch):
    of = rules(monkeypatch, MODEL_SERVICE_TAKE_PROFIT_PCT="0", STOP_LOSS_THRESHOLD_PCT="0")

    assert (of.take_profit.ladder[0].profit_pct, of.stop_loss.loss_pct) == (0, 0)


@pytest.mark.parametrize(("second", "expected"), [({}, 5), ({"TAKE_PROFIT_SECOND_PCT": "4"}, 4)])
def test_a_partial_exit_is_a_ladder_of_two(monkeypatch, second, expected):
    of = rules(monkeypatch, TAKE_PROFIT_PARTIAL_EXIT="true", TAKE_PROFIT_PARTIAL_AMOUNT_PCT="40", **second)

    assert [(stage.profit_pct, stage.close_pct) for stage in of.take_profit.ladder] == [
        (3, 40),
        (expected, 100),
    ]


def test_the_other_rules_are_switched_on_by_their_variables(monkeypatch):
    of = rules(
        monkeypatch,
        TRAILING_STOP_ENABLED="true",
        TRAILING_STOP_LOCK_IN_PCT="0.5",
        TIME_BASED_EXIT_ENABLED="true",
        TIME_BASED_EXIT_MAX_HOURS="0.5",
        STOP_LOSS_ENABLED="false",
        TAKE_PROFIT_ENABLED="false",
    )

    assert (of.trailing_stop.activation_pct, of.trailing_stop.lock_in_pct) == (2, Decimal("0.5"))
    assert of.time_limit.max_hold == timedelta(minutes=30)
    assert (of.stop_loss, of.take_profit) == (None, None)


def test_disabled_exits_have_no_rule(monkeypatch):
    assert rules(monkeypatch, EXIT_STRATEGY_ENABLED="false") == Rules()


def settings(monkeypatch, tmp_path, toml="", **environment):
    file = tmp_path / "strategies.toml"
    file.write_text(toml)
    monkeypatch.setenv("STRATEGIES_FILE", str(file))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


TWO = """
[momentum]
symbols = ["BTCUSDT", "ETHUSDT"]
stop_loss_threshold_pct = -1.5

[momentum.symbol.ETHUSDT]
stop_loss_threshold_pct = -1.0

[reversal]
symbols = ["BTCUSDT"]
model_service_take_profit_pct = 2
"""


def test_a_position_has_the_rules_of_its_strategy_and_symbol(monkeypatch, tmp_path):
    own = settings(monkeypatch, tmp_path, TWO, TRADING_STRATEGIES="momentum,reversal")

    assert own.rules_of("momentum", "BTCUSDT").stop_loss.loss_pct == Decimal("1.5")
    assert own.rules_of("momentum", "ETHUSDT").stop_loss.loss_pct == 1
    assert own.rules_of("reversal", "BTCUSDT").stop_loss.loss_pct == 2


@pytest.mark.parametrize("strategy_id", ["unattributed", "retired"])
@pytest.mark.parametrize(
    ("symbol", "stop", "target"), [("BTCUSDT", "1.5", 2), ("ETHUSDT", "1", 3), ("SOLUSDT", "1.5", 2)]
)
def test_a_position_of_nobody_has_the_strictest_rules_of_all_that_trade_it(
    monkeypatch, tmp_path, strategy_id, symbol, stop, target
):
    own = settings(monkeypatch, tmp_path, TWO, TRADING_STRATEGIES="momentum,reversal")

    of = own.rules_of(strategy_id, symbol)

    assert of.stop_loss.loss_pct == Decimal(stop)
    assert of.take_profit.ladder[0].profit_pct == target


def test_what_will_never_fire_is_said_with_its_table(monkeypatch, tmp_path):
    toml = """
[momentum]
model_service_take_profit_pct = 1

[momentum.symbol.BTCUSDT]
model_service_take_profit_pct = 9
"""
    own = settings(monkeypatch, tmp_path, toml, TRADING_STRATEGIES="momentum", TRAILING_STOP_ENABLED="true")

    assert [warning.split(":")[0] for warning in own.rule_warnings()] == [
        "[momentum] the take profit closes all above 1 %, TRAILING_STOP_ACTIVATION_PCT is 2.0"
    ]


def test_the_defaults_warn_of_nothing(monkeypatch):
    assert Settings().rule_warnings() == ()


def test_the_rules_of_a_position_are_whole_and_disabled_ones_are_not(monkeypatch):
    assert rules(monkeypatch).version is not None
    assert rules(monkeypatch, EXIT_STRATEGY_ENABLED="false").version is None


def test_pacing_is_configured_by_its_variables(monkeypatch):
    for name, value in {
        "EXIT_COOLDOWN_SECONDS": "30",
        "EXIT_STRATEGY_RATE_LIMIT": "4",
        "EXIT_RATE_LIMIT_WINDOW_SECONDS": "20",
    }.items():
        monkeypatch.setenv(name, value)

    limits = Settings().closing_limits()

    assert (limits.cooldown, limits.rate_limit) == (timedelta(seconds=30), 4)
    assert limits.rate_window == timedelta(seconds=20)
    assert (Settings().exit_debounce_ms, Settings().exit_price_deviations) == (250, 8)


WRONG = [
    {"EXIT_DEBOUNCE_MS": "-1"},
    {"EXIT_STRATEGY_RATE_LIMIT": "0"},
    {"EXIT_COOLDOWN_SECONDS": "-1"},
    {"EXIT_PRICE_DEVIATIONS": "0"},
    {"EXIT_REISSUE_SECONDS": "2"},
    {"STOP_LOSS_THRESHOLD_PCT": "nan"},
    {"STOP_LOSS_THRESHOLD_PCT": "-100"},
    {"TRAILING_STOP_DISTANCE_PCT": "0"},
    {"TAKE_PROFIT_PARTIAL_AMOUNT_PCT": "101"},
    {"MAX_ORDER_NOTIONAL": "0"},
    {"TAKE_PROFIT_PARTIAL_EXIT": "true", "TAKE_PROFIT_SECOND_PCT": "3"},
]


@pytest.mark.parametrize("environment", WRONG)
def test_what_makes_no_sense_is_refused_naming_the_variable(monkeypatch, environment):
    with pytest.raises(ValidationError) as refusal:
        rules(monkeypatch, **environment)

    assert list(environment)[-1] in str(refusal.value).upper()
