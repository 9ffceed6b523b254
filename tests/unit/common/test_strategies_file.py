from decimal import Decimal
from pathlib import Path

import pytest

from common import strategies_file
from common.exit_settings import ClosingSettings
from common.settings import StrategySettings, load
from exit_strategy.settings import Settings as ExitSettings
from inference.settings import Settings as InferenceSettings
from trainer.settings import Settings as TrainerSettings

STRATEGIES = ("momentum", "reversal")


class Settings(StrategySettings, ClosingSettings):
    pass


def written(path: Path, text: str) -> Path:
    file = path / "strategies.toml"
    file.write_text(text)
    return file


def settings(path: Path, text: str) -> Settings:
    return Settings(
        trading_strategies=STRATEGIES, trading_symbols=("ETHUSDT",), strategies_file=written(path, text)
    )


def test_a_strategy_trades_its_own_symbols_and_the_others_those_of_the_fleet(tmp_path):
    of_file = settings(tmp_path, '[momentum]\nsymbols = ["BTCUSDT", "SOLUSDT"]\n')

    assert of_file.symbols_of("momentum") == ("BTCUSDT", "SOLUSDT")
    assert of_file.symbols_of("reversal") == ("ETHUSDT",)


def test_a_symbols_table_wins_over_its_strategys_and_that_over_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MODEL_SERVICE_TAKE_PROFIT_PCT", "4")
    of_file = settings(
        tmp_path,
        "[momentum]\nmodel_service_take_profit_pct = 5\ntake_profit_quote = 9\n"
        "[momentum.symbol.BTCUSDT]\nmodel_service_take_profit_pct = 6\n",
    )

    assert of_file.of_strategy("momentum", "BTCUSDT").model_service_take_profit_pct == 6
    assert of_file.of_strategy("momentum", "BTCUSDT").take_profit_quote == Decimal(9)
    assert of_file.of_strategy("momentum", "ETHUSDT").model_service_take_profit_pct == 5
    assert of_file.of_strategy("momentum").model_service_take_profit_pct == 5
    assert of_file.of_strategy("reversal", "BTCUSDT").model_service_take_profit_pct == 4


def test_settings_of_a_strategy_keep_everything_else(tmp_path):
    of_file = settings(tmp_path, "[momentum]\ntake_profit_enabled = false\n")

    changed = of_file.of_strategy("momentum")

    assert changed.take_profit() is None
    assert changed.trading_symbols == ("ETHUSDT",)
    assert changed.strategies() == STRATEGIES
    assert of_file.of_strategy("reversal") is of_file


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[momentum\n", "is not TOML"),
        ("[mean]\n", r"\[mean\]: TRADING_STRATEGIES names no such strategy \(it names momentum, reversal\)"),
        ("momentum = 1\n", "momentum: stands outside of a strategy's table"),
        (
            "[momentum]\nstop_los_threshold_pct = 1\n",
            r"\[momentum\] stop_los_threshold_pct: unknown key, perhaps stop_loss_threshold_pct",
        ),
        ('[momentum]\nsymbols = "BTCUSDT"\n', r'\[momentum\] symbols: a list such as \["BTCUSDT"\]'),
        ('[momentum]\nsymbols = ["btcusdt"]\n', r"\[momentum\] symbols: a list"),
        ('[momentum]\nsymbols = ["BTCUSDT", "BTCUSDT"]\n', "names one twice"),
        ("[momentum]\nsymbol = 3\n", r"a table per symbol is needed, \[momentum.symbol.BTCUSDT\]"),
        ("[momentum.symbol.btc]\n", r"\[momentum.symbol.btc\]: is no symbol"),
        ("[momentum.symbol]\nBTCUSDT = 3\n", r"\[momentum.symbol.BTCUSDT\]: a table is needed"),
        (
            "[momentum.symbol.BTCUSDT]\nmodel_type = 'xgboost'\n",
            r"\[momentum.symbol.BTCUSDT\] model_type: belongs to the strategy's table",
        ),
    ],
)
def test_a_wrong_file_is_refused_naming_file_table_and_key(tmp_path, text, problem):
    file = written(tmp_path, text)

    with pytest.raises(ValueError, match=problem) as refused:
        strategies_file.read(file, STRATEGIES)
    assert str(refused.value).startswith(str(file))


def test_every_problem_of_a_file_is_named_at_once(tmp_path):
    file = written(tmp_path, "[momentum]\nfoo = 1\n[momentum.symbol.BTCUSDT]\nbar = 2\n[mean]\n")

    with pytest.raises(ValueError, match=r"foo.*\n?.*bar.*\[mean\]"):
        strategies_file.read(file, STRATEGIES)


def test_a_file_that_is_not_there_stops_the_service_naming_the_variable(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STRATEGIES_FILE", str(tmp_path / "absent.toml"))

    with pytest.raises(SystemExit):
        load(Settings)

    assert f"STRATEGIES_FILE: {tmp_path}/absent.toml cannot be read" in capsys.readouterr().err


def test_a_value_out_of_range_stops_the_service_naming_file_table_and_key(tmp_path, monkeypatch, capsys):
    file = written(
        tmp_path,
        "[momentum]\nmodel_service_take_profit_pct = -1\n"
        "[reversal.symbol.BTCUSDT]\ntake_profit_partial_exit = true\ntake_profit_second_pct = 1\n",
    )
    monkeypatch.setenv("TRADING_STRATEGIES", "momentum,reversal")
    monkeypatch.setenv("STRATEGIES_FILE", str(file))

    with pytest.raises(SystemExit):
        load(Settings)

    said = capsys.readouterr().err
    assert f"{file}: [momentum] model_service_take_profit_pct" in said
    assert f"{file}: [reversal.symbol.BTCUSDT] TAKE_PROFIT_SECOND_PCT must be above" in said


@pytest.mark.parametrize(
    ("keys", "settings_type"),
    [
        (strategies_file.SIGNAL_KEYS, InferenceSettings),
        (strategies_file.TRAINING_KEYS, TrainerSettings),
        (strategies_file.EXIT_KEYS, ExitSettings),
    ],
    ids=["signals", "training", "exits"],
)
def test_every_key_is_a_setting_of_the_service_that_heeds_it(keys, settings_type):
    assert not keys - settings_type.model_fields.keys()
