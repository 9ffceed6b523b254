"""The exit worker's settings: the operators' names, their units and ranges."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat

from common.core.exits.rule_sets import strictest, warnings
from common.core.exits.rules import Rules, StopLoss, TimeLimit, TrailingStop, whole
from common.exit_settings import Amount, ClosingSettings, Percent
from common.position_manager import PositionManagerSettings
from common.settings import (
    BusSettings,
    DatabaseSettings,
    FeatureServiceSettings,
    Port,
    ProcessSettings,
    StrategySettings,
)

PositiveDecimal = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class Settings(
    DatabaseSettings,
    BusSettings,
    ProcessSettings,
    StrategySettings,
    FeatureServiceSettings,
    PositionManagerSettings,
    ClosingSettings,
):
    """Everything that an operator can say to an exit worker."""

    exit_strategy_port: Port = 4503
    """Port of health and metrics."""
    stop_loss_enabled: bool = True
    """Close a position at its stop."""
    stop_loss_threshold_pct: Annotated[Decimal, Field(gt=-100, lt=100, allow_inf_nan=False)] = Decimal("-2.0")
    """Loss at which a position is closed, percent of its entry; the sign does not matter."""
    stop_loss_quote: Amount | None = None
    """Loss of the whole position at which it is closed, quote currency; unset: none."""

    trailing_stop_enabled: bool = False
    """Close a position whose price came back from its best."""
    trailing_stop_activation_pct: Percent = Decimal("2.0")
    """Best profit from which on the stop follows, percent of the entry."""
    trailing_stop_distance_pct: Annotated[Decimal, Field(gt=0, lt=100)] = Decimal("1.0")
    """Distance of the stop from the best price, percent of that price."""
    trailing_stop_lock_in_pct: Percent | None = None
    """The trailing stop is never worse than this profit, percent of the entry; unset: no such floor."""

    time_based_exit_enabled: bool = False
    """Close a position that is too old."""
    time_based_exit_max_hours: PositiveFloat = 24.0
    """Age at which a position is closed whatever its profit, in hours."""
    time_based_exit_profit_target_pct: Percent = Decimal("1.0")
    """Target that shrinks to a tenth until the greatest age, from one hour on, percent of the entry."""

    exit_debounce_ms: Annotated[int, Field(ge=0, le=10_000)] = 250
    """A target or an age that fires is decided by the newest price after so long, in ms; stops never wait."""
    exit_price_deviations: PositiveDecimal = Decimal(8)
    """A price further from the recent ones, in their standard deviations, waits for one that confirms it."""
    exit_spool_path: Path = Path("/spool/exits.jsonl")
    """File that keeps exits sent while the database was down, until it can store them."""
    exit_silence_seconds: PositiveFloat = 30.0
    """An open position not evaluated for so long is an alarm, in seconds."""
    market_data_max_age_seconds: PositiveFloat = 60.0
    """Older prices, and markets unchanged for longer, fire no price rule, in seconds."""

    def rules(self) -> Rules:
        """The rules that are switched on."""
        if not self.exit_strategy_enabled:
            return Rules()
        return whole(
            Rules(
                stop_loss=self._stop_loss() if self.stop_loss_enabled else None,
                trailing_stop=self._trailing_stop() if self.trailing_stop_enabled else None,
                take_profit=self.take_profit(),
                time_limit=self._time_limit() if self.time_based_exit_enabled else None,
            )
        )

    def rules_of(self, strategy_id: str, symbol: str) -> Rules:
        """The rules of a position; of a strategy that is not run here, the strictest of all that are."""
        if strategy_id in self.strategies():
            return self.of_strategy(strategy_id, symbol).rules()
        trading = [each for each in self.strategies() if symbol in (self.symbols_of(each) or (symbol,))]
        return strictest([self.of_strategy(each, symbol).rules() for each in trading or self.strategies()])

    def rule_warnings(self) -> tuple[str, ...]:
        """What is configured and will never fire, one sentence each, with the table of strategies.toml."""
        found = list(warnings(self.rules()))
        for strategy_id, symbol in self._overrides.tables():
            table = strategy_id if symbol is None else f"{strategy_id}.symbol.{symbol}"
            own = warnings(self.of_strategy(strategy_id, symbol).rules())
            found += [f"[{table}] {warning}" for warning in own if warning not in found]
        return tuple(found)

    def _stop_loss(self) -> StopLoss:
        return StopLoss(loss_pct=abs(self.stop_loss_threshold_pct), loss_quote=self.stop_loss_quote)

    def _trailing_stop(self) -> TrailingStop:
        return TrailingStop(
            activation_pct=self.trailing_stop_activation_pct,
            distance_pct=self.trailing_stop_distance_pct,
            lock_in_pct=self.trailing_stop_lock_in_pct,
        )

    def _time_limit(self) -> TimeLimit:
        return TimeLimit(
            max_hold=timedelta(hours=self.time_based_exit_max_hours),
            profit_target_pct=self.time_based_exit_profit_target_pct,
        )
