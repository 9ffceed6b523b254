"""The exit worker's settings: the operators' names, their units and ranges."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field, PositiveFloat

from common.core.exits.rules import Rules, StopLoss, TimeLimit, TrailingStop
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

    exit_silence_seconds: PositiveFloat = 30.0
    """An open position not evaluated for so long is an alarm, in seconds."""
    market_data_max_age_seconds: PositiveFloat = 60.0
    """Older prices, and markets unchanged for longer, fire no price rule, in seconds."""

    def rules(self) -> Rules:
        """The rules that are switched on."""
        if not self.exit_strategy_enabled:
            return Rules()
        return Rules(
            stop_loss=self._stop_loss() if self.stop_loss_enabled else None,
            trailing_stop=self._trailing_stop() if self.trailing_stop_enabled else None,
            take_profit=self.take_profit(),
            time_limit=self._time_limit() if self.time_based_exit_enabled else None,
        )

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
