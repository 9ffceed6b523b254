"""The exit worker's settings: the operators' names, their units and ranges."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, PositiveFloat, model_validator

from common.position_manager import PositionManagerSettings
from common.settings import BusSettings, DatabaseSettings, FeatureServiceSettings, Port, ProcessSettings
from exit_strategy.core.dispatch import Limits
from exit_strategy.core.rules import ALL, Rules, Stage, StopLoss, TakeProfit, TimeLimit, TrailingStop

Percent = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
PositivePercent = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[Decimal, Field(gt=0, le=100)]
Amount = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]

ENTRY_GAP = timedelta(milliseconds=200)
"""Pause after a symbol's last entry: the Order Manager runs two signals within 100 ms side by side."""


class Settings(
    DatabaseSettings, BusSettings, ProcessSettings, FeatureServiceSettings, PositionManagerSettings
):
    """Everything that an operator can say to an exit worker."""

    exit_strategy_port: Port = 4503
    """Port of health and metrics."""
    exit_strategy_enabled: bool = True
    """Close positions by rule; false: positions are followed and re-announced, no exit is sent."""

    stop_loss_enabled: bool = True
    """Close a position at its stop."""
    stop_loss_threshold_pct: Annotated[Decimal, Field(gt=-100, lt=100, allow_inf_nan=False)] = Decimal("-2.0")
    """Loss at which a position is closed, percent of its entry; the sign does not matter."""
    stop_loss_quote: Amount | None = None
    """Loss of the whole position at which it is closed, quote currency; unset: none."""

    take_profit_enabled: bool = True
    """Close a position above its target."""
    model_service_take_profit_pct: Percent = Decimal("3.0")
    """Profit above which a position is closed, percent of its entry."""
    take_profit_partial_exit: bool = False
    """Close a part above the target and the rest above the second one."""
    take_profit_partial_amount_pct: Share = Decimal(50)
    """The part that the first target closes, percent of the live size."""
    take_profit_second_pct: PositivePercent | None = None
    """The second target, percent of the entry; unset: 5/3 of the first."""
    take_profit_quote: Amount | None = None
    """Profit of the whole position above which all of it is closed, quote currency; unset: none."""

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

    exit_reissue_seconds: Annotated[float, Field(gt=2)] = 15.0
    """An exit unanswered for so long is issued again, in seconds."""
    exit_silence_seconds: PositiveFloat = 30.0
    """An open position not evaluated for so long is an alarm, in seconds."""
    max_order_notional: Amount = Decimal(950)
    """Largest amount of one signal, quote currency; bigger exits go in parts, one after the other."""
    market_data_max_age_seconds: PositiveFloat = 60.0
    """Older prices, and markets unchanged for longer, fire no price rule, in seconds."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.take_profit_partial_exit and self.second_target_pct() <= self.model_service_take_profit_pct:
            raise ValueError("TAKE_PROFIT_SECOND_PCT must be above MODEL_SERVICE_TAKE_PROFIT_PCT")
        return self

    def second_target_pct(self) -> Decimal:
        """The ladder's second target, percent of the entry."""
        if self.take_profit_second_pct is not None:
            return self.take_profit_second_pct
        return self.model_service_take_profit_pct * 5 / 3

    def rules(self) -> Rules:
        """The rules that are switched on."""
        if not self.exit_strategy_enabled:
            return Rules()
        return Rules(
            stop_loss=self._stop_loss() if self.stop_loss_enabled else None,
            trailing_stop=self._trailing_stop() if self.trailing_stop_enabled else None,
            take_profit=self._take_profit() if self.take_profit_enabled else None,
            time_limit=self._time_limit() if self.time_based_exit_enabled else None,
        )

    def limits(self) -> Limits:
        """How often and how much may be sent."""
        return Limits(
            reissue=timedelta(seconds=self.exit_reissue_seconds),
            entry_gap=ENTRY_GAP,
            max_order_notional=self.max_order_notional,
        )

    def _stop_loss(self) -> StopLoss:
        return StopLoss(loss_pct=abs(self.stop_loss_threshold_pct), loss_quote=self.stop_loss_quote)

    def _trailing_stop(self) -> TrailingStop:
        return TrailingStop(
            activation_pct=self.trailing_stop_activation_pct,
            distance_pct=self.trailing_stop_distance_pct,
            lock_in_pct=self.trailing_stop_lock_in_pct,
        )

    def _take_profit(self) -> TakeProfit:
        first = self.model_service_take_profit_pct
        if not self.take_profit_partial_exit:
            ladder: tuple[Stage, ...] = (Stage(profit_pct=first, close_pct=ALL),)
        else:
            ladder = (
                Stage(profit_pct=first, close_pct=self.take_profit_partial_amount_pct),
                Stage(profit_pct=self.second_target_pct(), close_pct=ALL),
            )
        return TakeProfit(ladder=ladder, profit_quote=self.take_profit_quote)

    def _time_limit(self) -> TimeLimit:
        return TimeLimit(
            max_hold=timedelta(hours=self.time_based_exit_max_hours),
            profit_target_pct=self.time_based_exit_profit_target_pct,
        )
