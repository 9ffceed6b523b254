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


WRONG = [
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
