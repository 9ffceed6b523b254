"""strategies.toml: what differs from strategy to strategy, and from symbol to symbol.

A table per strategy, keys are variables in lower case; `symbols` names what the strategy trades:

    [momentum]
    symbols = ["BTCUSDT", "ETHUSDT"]
    signal_confidence_threshold = 0.6

    [momentum.symbol.BTCUSDT]
    stop_loss_threshold_pct = -1.5

What a key means, its unit and its range are those of its variable. The table of a symbol wins over its
strategy's, that over the environment.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

SIGNAL_KEYS = frozenset(
    {
        "max_order_notional",
        "model_service_max_position_size_ratio",
        "model_signal_max_amount",
        "model_signal_min_amount",
        "short_entries_enabled",
        "signal_confidence_threshold",
        "signal_cost_aware",
        "signal_generation_check_opposite_orders_only",
        "signal_generation_skip_if_open_order",
        "signal_probability_lead",
        "warmup_max_amount",
        "warmup_max_hours",
        "warmup_min_amount",
        "warmup_mode_enabled",
        "warmup_randomness_level",
    }
)
"""What inference lets a strategy or a symbol of it have for itself."""
TRAINING_KEYS = frozenset(
    {
        "model_class_weights",
        "model_classification_threshold",
        "model_prediction_horizon_seconds",
        "model_promotion_policy",
        "model_retraining_interval_days",
        "model_retraining_schedule",
        "model_target_type",
        "model_type",
    }
)
"""What the trainer lets a strategy have for itself; not a symbol: a strategy has one model."""
EXIT_KEYS = frozenset(
    {
        "model_service_take_profit_pct",
        "stop_loss_enabled",
        "stop_loss_quote",
        "stop_loss_threshold_pct",
        "take_profit_enabled",
        "take_profit_ladder",
        "take_profit_partial_amount_pct",
        "take_profit_partial_exit",
        "take_profit_quote",
        "take_profit_second_pct",
        "time_based_exit_enabled",
        "time_based_exit_max_hours",
        "time_based_exit_profit_target_pct",
        "trailing_stop_activation_pct",
        "trailing_stop_distance_pct",
        "trailing_stop_enabled",
        "trailing_stop_lock_in_pct",
    }
)
"""What the exit worker, and inference's take profit, let a strategy or a symbol of it have for itself."""

_SYMBOL = re.compile(r"[A-Z0-9]{4,20}")
_OF_STRATEGY = SIGNAL_KEYS | TRAINING_KEYS | EXIT_KEYS | {"symbols", "symbol"}
_OF_SYMBOL = SIGNAL_KEYS | EXIT_KEYS


class StrategiesFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file as it was read; empty where there is none."""

    symbols: Mapping[str, tuple[str, ...]] = {}
    """By strategy; a strategy that names none is not in it."""
    of_strategy: Mapping[str, Mapping[str, Any]] = {}
    of_symbol: Mapping[tuple[str, str], Mapping[str, Any]] = {}

    def overrides(self, strategy_id: str, symbol: str | None = None) -> dict[str, Any]:
        """What holds instead of the environment's values, by variable in lower case."""
        of_symbol = {} if symbol is None else self.of_symbol.get((strategy_id, symbol), {})
        return {**self.of_strategy.get(strategy_id, {}), **of_symbol}

    def tables(self) -> Sequence[tuple[str, str | None]]:
        """Every strategy, and strategy and symbol, that has something for itself."""
        return [*((name, None) for name in self.of_strategy), *self.of_symbol]


def read(path: Path, strategies: Sequence[str]) -> StrategiesFile:
    """The file at `path`; raises ValueError with every problem, each naming file, table and key."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    problems = [f"{path}: {problem}" for problem in _problems(tables, strategies)]
    if problems:
        raise ValueError("; ".join(problems))
    return StrategiesFile(
        symbols={name: tuple(table["symbols"]) for name, table in tables.items() if "symbols" in table},
        of_strategy={
            name: {key: value for key, value in table.items() if key not in ("symbols", "symbol")}
            for name, table in tables.items()
        },
        of_symbol={
            (name, symbol): of_symbol
            for name, table in tables.items()
            for symbol, of_symbol in table.get("symbol", {}).items()
        },
    )


def _problems(tables: Mapping[str, Any], strategies: Sequence[str]) -> list[str]:
    found = []
    for name, table in tables.items():
        if name not in strategies:
            known = ", ".join(strategies)
            found.append(f"[{name}]: TRADING_STRATEGIES names no such strategy (it names {known})")
        elif not isinstance(table, dict):
            found.append(f"{name}: stands outside of a strategy's table")
        else:
            found += _problems_of(name, table)
    return found


def _problems_of(name: str, table: Mapping[str, Any]) -> list[str]:
    found = [f"[{name}] {key}: {_unknown(key, _OF_STRATEGY)}" for key in table if key not in _OF_STRATEGY]
    symbols = table.get("symbols", [])
    if not isinstance(symbols, list) or not all(_is_symbol(each) for each in symbols):
        found.append(f'[{name}] symbols: a list such as ["BTCUSDT"] is needed')
    elif len(set(symbols)) != len(symbols):
        found.append(f"[{name}] symbols: names one twice")
    of_symbols = table.get("symbol", {})
    if not isinstance(of_symbols, dict):
        return [*found, f"[{name}] symbol: a table per symbol is needed, [{name}.symbol.BTCUSDT]"]
    for symbol, of_symbol in of_symbols.items():
        where = f"[{name}.symbol.{symbol}]"
        if not _is_symbol(symbol):
            found.append(f"{where}: is no symbol (4 to 20 capital letters and digits)")
        elif not isinstance(of_symbol, dict):
            found.append(f"{where}: a table is needed")
        else:
            found += [
                f"{where} {key}: {_unknown(key, _OF_SYMBOL)}" for key in of_symbol if key not in _OF_SYMBOL
            ]
    return found


def _is_symbol(value: object) -> bool:
    return isinstance(value, str) and _SYMBOL.fullmatch(value) is not None


def _unknown(key: str, known: frozenset[str]) -> str:
    if key in TRAINING_KEYS:
        return "belongs to the strategy's table: a strategy has one model"
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown key{f', perhaps {near[0]}' if near else ''}"
