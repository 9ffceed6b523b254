"""What strategies.toml says of a strategy and a symbol is what its decisions are made by."""

from decimal import Decimal

import pytest
import structlog

from inference.policy import ConfiguredPolicies, shared_symbols
from inference.settings import Settings

FILE = """
[momentum]
symbols = ["BTCUSDT", "ETHUSDT"]
signal_confidence_threshold = 0.6
model_service_max_position_size_ratio = 0.5

[momentum.symbol.ETHUSDT]
signal_confidence_threshold = 0.7
max_order_notional = 50

[reversion]
symbols = ["ETHUSDT", "SOLUSDT"]
short_entries_enabled = true
"""


@pytest.fixture
def policies(tmp_path):
    file = tmp_path / "strategies.toml"
    file.write_text(FILE)
    return ConfiguredPolicies(
        Settings(
            trading_strategies=("momentum", "reversion", "quiet"),
            trading_symbols=("XRPUSDT",),
            strategies_file=file,
            max_exposure_quote=Decimal(1000),
        )
    )


@pytest.mark.parametrize(
    ("symbol", "strategies"),
    [
        ("BTCUSDT", ("momentum",)),
        ("ETHUSDT", ("momentum", "reversion")),
        ("XRPUSDT", ("quiet",)),
        ("DOGEUSDT", ()),
    ],
)
def test_a_symbol_is_decided_on_by_those_who_trade_it(policies, symbol, strategies):
    assert policies.strategies_of(symbol) == strategies


def test_a_strategy_and_a_symbol_have_their_own_bounds(policies):
    on_bitcoin, on_ether = policies.of("momentum", "BTCUSDT"), policies.of("momentum", "ETHUSDT")
    other = policies.of("reversion", "ETHUSDT")

    assert (on_bitcoin.model.confidence_threshold, on_ether.model.confidence_threshold) == (0.6, 0.7)
    assert (on_bitcoin.limits.max_order_notional, on_ether.limits.max_order_notional) == (950, 50)
    assert {each.limits.max_position_ratio for each in (on_bitcoin, on_ether)} == {Decimal("0.5")}
    assert (other.limits.max_position_ratio, other.limits.short_entries) == (Decimal("0.8"), True)
    assert not on_ether.limits.short_entries


def test_open_orders_of_everybody_on_the_symbol_count(policies):
    assert policies.of("momentum", "ETHUSDT").sharing == ("momentum", "reversion")
    assert policies.of("momentum", "BTCUSDT").sharing == ("momentum",)


def test_two_strategies_on_one_symbol_are_named_at_start(policies):
    with structlog.testing.capture_logs() as logged:
        policies.warn_of_shared_symbols()

    [warning] = logged
    assert warning["log_level"] == "warning"
    assert (warning["strategies"], warning["symbol"]) == (["momentum", "reversion"], "ETHUSDT")


@pytest.mark.parametrize(
    ("symbols", "shared"),
    [
        ({"a": {"X"}, "b": {"Y"}}, []),
        ({"a": {"X", "Y"}, "b": {"Y"}, "c": {"Y"}}, [("a", "b", "Y"), ("a", "c", "Y"), ("b", "c", "Y")]),
        ({"a": set(), "b": {"Y", "X"}}, [("a", "b", "X"), ("a", "b", "Y")]),
        ({"a": set(), "b": set()}, [("a", "b", "*")]),
    ],
)
def test_all_of_the_stream_is_shared_with_everybody(symbols, shared):
    assert shared_symbols({name: frozenset(each) for name, each in symbols.items()}) == shared


def test_a_policy_is_made_once(policies):
    assert policies.of("momentum", "ETHUSDT") is policies.of("momentum", "ETHUSDT")
