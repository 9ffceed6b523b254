"""Settings of those who close positions: the exit worker, and inference where it takes a profit."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator
from pydantic_settings import NoDecode

from common.core.exits.dispatch import Limits
from common.core.exits.position import ALL
from common.core.exits.rules import Stage, TakeProfit
from common.settings import SettingsGroup

Percent = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
PositivePercent = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[Decimal, Field(gt=0, le=100)]
Amount = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]

ENTRY_GAP = timedelta(milliseconds=200)
"""Pause after a symbol's last entry: the Order Manager runs two signals within 100 ms side by side."""


def _stages(value: object) -> object:
    if isinstance(value, str):
        pairs = [each.split(":") for each in value.split(",") if each.strip()]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("pairs of percent are needed, such as 3:50,5:100")
        return tuple((profit.strip(), close.strip()) for profit, close in pairs)
    return value


def _rising(ladder: tuple[tuple[Decimal, Decimal], ...]) -> tuple[tuple[Decimal, Decimal], ...]:
    targets = [profit for profit, _ in ladder]
    if not ladder or targets != sorted(set(targets)):
        raise ValueError("at least one stage, and each target above the one before")
    return ladder


Ladder = Annotated[
    tuple[tuple[PositivePercent, Share], ...], NoDecode, BeforeValidator(_stages), AfterValidator(_rising)
]
"""`3:50,5:100` in the environment: above 3 % close half, above 5 % all of what is left."""


class ClosingSettings(SettingsGroup):
    """When a profit is taken, and how an exit is sent."""

    exit_strategy_enabled: bool = True
    """Close positions by rule; false: positions are followed and re-announced, no exit is sent."""
    exit_reissue_seconds: Annotated[float, Field(gt=2)] = 15.0
    """An exit unanswered for so long is issued again, in seconds."""
    exit_cooldown_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Pause between a position's exits by target or age, and of tries after three refusals, in seconds."""
    exit_strategy_rate_limit: PositiveInt = 10
    """Exits by target or age that a symbol may have in EXIT_RATE_LIMIT_WINDOW_SECONDS; stops never count."""
    exit_rate_limit_window_seconds: PositiveFloat = 60.0
    """What EXIT_STRATEGY_RATE_LIMIT counts over, in seconds."""
    max_order_notional: Amount = Decimal(950)
    """Largest amount of one signal, quote currency; entries are capped, bigger exits go in parts."""

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
    take_profit_ladder: Ladder | None = None
    """Targets and shares as `3:50,5:100`, in percent; replaces the target and its two stages."""
    take_profit_quote: Amount | None = None
    """Profit of the whole position above which all of it is closed, quote currency; unset: none."""

    @model_validator(mode="after")
    def _targets_rise(self) -> Self:
        if self.take_profit_partial_exit and self._second_target_pct() <= self.model_service_take_profit_pct:
            raise ValueError("TAKE_PROFIT_SECOND_PCT must be above MODEL_SERVICE_TAKE_PROFIT_PCT")
        return self

    def take_profit(self) -> TakeProfit | None:
        """The rule; None: switched off."""
        if not (self.exit_strategy_enabled and self.take_profit_enabled):
            return None
        ladder = tuple(Stage(profit_pct=profit, close_pct=close) for profit, close in self._ladder())
        return TakeProfit(ladder=ladder, profit_quote=self.take_profit_quote)

    def closing_limits(self) -> Limits:
        """How often and how much may be sent."""
        return Limits(
            reissue=timedelta(seconds=self.exit_reissue_seconds),
            entry_gap=ENTRY_GAP,
            max_order_notional=self.max_order_notional,
            cooldown=timedelta(seconds=self.exit_cooldown_seconds),
            rate_limit=self.exit_strategy_rate_limit,
            rate_window=timedelta(seconds=self.exit_rate_limit_window_seconds),
        )

    def _ladder(self) -> tuple[tuple[Decimal, Decimal], ...]:
        if self.take_profit_ladder is not None:
            return self.take_profit_ladder
        first = self.model_service_take_profit_pct
        if not self.take_profit_partial_exit:
            return ((first, ALL),)
        return (first, self.take_profit_partial_amount_pct), (self._second_target_pct(), ALL)

    def _second_target_pct(self) -> Decimal:
        if self.take_profit_second_pct is not None:
            return self.take_profit_second_pct
        return self.model_service_take_profit_pct * 5 / 3
