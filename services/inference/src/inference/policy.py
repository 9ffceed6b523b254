"""What the operator configured for one strategy on one symbol, and which strategies trade a symbol.

Settings are validated and merged with strategies.toml once, at start for every symbol that is named, at its
first vector for any other; a vector then only looks its policy up.
"""

import functools
import itertools
from collections.abc import Mapping
from typing import Protocol

import msgspec
import structlog

from common.core.trading_state import TradingState
from inference.core.case import Limits
from inference.core.model import ModelPolicy
from inference.core.snapshot import SnapshotFeatures
from inference.core.warmup import WarmUp
from inference.events import Event
from inference.settings import Settings

log = structlog.get_logger(__name__)

REMEMBERED = 4096
"""Policies kept at most, one per strategy and symbol."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How one strategy decides on one symbol."""

    state_initial: TradingState
    sharing: tuple[str, ...]
    """The strategies that trade the symbol, this one included: an open order of any counts."""
    limits: Limits
    warm_up: WarmUp
    model: ModelPolicy


class Policies(Protocol):
    """Where the worker finds what the operator wants."""

    limits: Limits
    """What holds for a vector whoever decides on it."""
    stale_warning_s: float
    snapshot_features: SnapshotFeatures
    """Where a vector shows the market."""

    def strategies_of(self, symbol: str) -> tuple[str, ...]:
        """The strategies that trade `symbol`, in the operator's order."""

    def of(self, strategy_id: str, symbol: str) -> Policy:
        """How the strategy decides on `symbol`."""


class ConfiguredPolicies:
    """The policies that the settings and strategies.toml give."""

    def __init__(self, settings: Settings) -> None:
        self.limits = settings.limits()
        self.stale_warning_s = settings.market_data_stale_warning_threshold_seconds
        self.snapshot_features = settings.market_features()
        self._settings = settings
        self._symbols = {name: frozenset(settings.symbols_of(name)) for name in settings.strategies()}
        self.of = functools.lru_cache(maxsize=REMEMBERED)(self._configured)
        self.strategies_of = functools.lru_cache(maxsize=REMEMBERED)(self._trading)
        for strategy_id, symbols in self._symbols.items():
            for symbol in symbols:
                self.of(strategy_id, symbol)

    def warn_of_shared_symbols(self) -> None:
        """Every two strategies that trade one symbol are named in the log."""
        for one, other, symbol in shared_symbols(self._symbols):
            log.warning(Event.STRATEGIES_SHARE_A_SYMBOL, strategies=[one, other], symbol=symbol)

    def _trading(self, symbol: str) -> tuple[str, ...]:
        return tuple(name for name, symbols in self._symbols.items() if not symbols or symbol in symbols)

    def _configured(self, strategy_id: str, symbol: str) -> Policy:
        settings = self._settings.of_strategy(strategy_id, symbol)
        return Policy(
            state_initial=settings.trading_state_initial,
            sharing=self.strategies_of(symbol),
            limits=settings.limits(),
            warm_up=settings.warm_up(),
            model=settings.model_policy(),
        )


def shared_symbols(symbols: Mapping[str, frozenset[str]]) -> list[tuple[str, str, str]]:
    """Every two strategies and a symbol that both trade; `*` where both trade all of the stream.

    An empty set is all of the stream.
    """
    shared = []
    for one, other in itertools.combinations(symbols, 2):
        if not symbols[one] and not symbols[other]:
            shared.append((one, other, "*"))
            continue
        both = symbols[one] & symbols[other] if symbols[one] and symbols[other] else None
        shared += [
            (one, other, name) for name in sorted(symbols[one] | symbols[other] if both is None else both)
        ]
    return shared
