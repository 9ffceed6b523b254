"""The ways out that the sandbox shows: all rules are among them, and their market leads to each of them."""

import tomllib

import numpy as np
import pytest

from common.core.exits.rules import RULES
from common.exit_settings import ExitRuleSettings
from sandbox.core.swings import PERIOD_BARS, WIDENING, WIDEST, swinging
from sandbox.exit_cases import CASES, strategies_toml

CALM_BARS = 500


def rules_of(case, directory, *, is_later=False):
    file = directory / "strategies.toml"
    file.write_text(strategies_toml(CASES, is_later=is_later))
    strategies = ",".join(each.name for each in CASES)
    settings = ExitRuleSettings(trading_strategies=strategies, strategies_file=file)
    return settings.rules_of(case.name, case.symbol)


def test_every_rule_has_a_case():
    assert {case.rule for case in CASES} == set(RULES)


def test_every_case_has_a_strategy_and_a_symbol_of_its_own():
    assert len({case.name for case in CASES}) == len({case.symbol for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_leaves_its_position_no_other_way_out(case, tmp_path):
    rules = rules_of(case, tmp_path)

    ways = {
        "stop_loss": rules.stop_loss,
        "trailing_stop": rules.trailing_stop,
        "take_profit": rules.take_profit,
        "max_hold": rules.time_limit,
    }
    wanted = {"kept_stop": {"stop_loss"}, "decaying_target": {"max_hold"}, "operator": set()}
    assert {name for name, rule in ways.items() if rule} == wanted.get(case.rule, {case.rule})


def test_only_the_stop_that_is_to_be_remembered_is_loosened(tmp_path):
    for case in CASES:
        before, after = rules_of(case, tmp_path), rules_of(case, tmp_path, is_later=True)

        assert (before != after) == (case.rule == "kept_stop")
        if before != after:
            assert after.stop_loss.loss_pct > before.stop_loss.loss_pct


def test_no_strategy_says_anything_that_its_file_does_not_take():
    tables = tomllib.loads(strategies_toml(CASES))

    assert {name: table["symbols"] for name, table in tables.items()} == {
        case.name: [case.symbol] for case in CASES
    }


@pytest.mark.parametrize("place", range(len(CASES)))
def test_whoever_enters_soon_sees_a_gain_and_a_loss_within_two_periods(place):
    periods = int(WIDEST / WIDENING)
    bars = swinging(
        7,
        "BTCUSDT",
        price=60_000,
        calm_bars=CALM_BARS,
        swinging_bars=(periods + 2) * PERIOD_BARS,
        place=place,
    )

    for entry in range(CALM_BARS, CALM_BARS + (periods - 2) * PERIOD_BARS):
        ahead = bars.close[entry : entry + 2 * PERIOD_BARS + 1] / bars.close[entry] - 1
        assert ahead.max() > 0.75 * WIDENING
        assert ahead.min() < -0.75 * WIDENING


def test_before_the_swings_the_market_is_calm():
    bars = swinging(7, "BTCUSDT", price=60_000, calm_bars=CALM_BARS, swinging_bars=0)

    assert np.abs(bars.close / 60_000 - 1).max() < 0.003
    assert np.all(bars.high >= np.maximum(bars.open, bars.close))
    assert np.all(bars.low <= np.minimum(bars.open, bars.close))
