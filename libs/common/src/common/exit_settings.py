"""Settings of those who close positions: the exit worker, inference where it takes a profit, and of the API
that shows the rules in force."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator
from pydantic_settings import NoDecode

from common.core.exits.dispatch import Limits
from common.core.exits.position import ALL
from common.core.exits.rule_sets import strictest, warnings
from common.core.exits.rules import Rules, Stage, StopLoss, TakeProfit, TimeLimit, TrailingStop, whole
from common.settings import SettingsGroup, StrategySettings

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


def ruling(settings: StrategySettings, strategy_id: str, symbol: str | None) -> Sequence[str]:
    """The strategies whose rules a position of `strategy_id` has.

    Its own; of one that is not run here, all that trade the symbol, or all there are.
    """
    strategies = settings.strategies()
    if strategy_id in strategies:
        return (strategy_id,)
    trading = [
        each for each in strategies if symbol is None or symbol in (settings.symbols_of(each) or (symbol,))
    ]
    return trading or strategies


class ExitRuleSettings(StrategySettings, ClosingSettings):
    """When a position is closed, of every strategy and symbol."""

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

    def rules_of(self, strategy_id: str, symbol: str | None = None) -> Rules:
        """The rules of a position; of a strategy that is not run here, the strictest of all that are.

        Without a symbol: those of positions whose symbol has no table of its own.
        """
        return strictest(
            [self.of_strategy(each, symbol).rules() for each in ruling(self, strategy_id, symbol)]
        )

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
