"""The inference worker's settings: the operators' names, their units and ranges."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from common.core.rate_limit import Rate
from common.exit_settings import ClosingSettings
from common.position_manager import PositionManagerSettings
from common.settings import (
    BusSettings,
    DatabaseSettings,
    FeatureServiceSettings,
    ModelStorageSettings,
    Port,
    ProcessSettings,
    StrategySettings,
    TradingStateSettings,
)
from common.ws_gateway import WsGatewaySettings
from inference.core.case import Limits
from inference.core.model import ModelPolicy
from inference.core.stream import FUTURE_TOLERANCE_S
from inference.core.warmup import WarmUp
from inference.feature_settings import AssetSettings, FeatureSettings, Positive

Fraction = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
Rate01 = Annotated[Decimal, Field(ge=0, lt=1, allow_inf_nan=False)]


class Settings(
    DatabaseSettings,
    BusSettings,
    ProcessSettings,
    StrategySettings,
    TradingStateSettings,
    ModelStorageSettings,
    FeatureServiceSettings,
    FeatureSettings,
    AssetSettings,
    PositionManagerSettings,
    WsGatewaySettings,
    ClosingSettings,
):
    """Everything that an operator can say to an inference worker."""

    inference_port: Port = 4501
    """Port of health and metrics."""
    feature_service_use_queue: bool = True
    """Vectors come by the queue features.live; false: they are polled over REST once a second."""

    warmup_mode_enabled: bool = True
    """Trade by the warm-up heuristic while a strategy has no model."""
    warmup_signal_frequency: Positive = 1.0
    """Warm-up signals per minute, over all strategies, symbols and replicas."""
    warmup_min_amount: Amount = Decimal(100)
    """Smallest warm-up amount, quote currency."""
    warmup_max_amount: Amount = Decimal(1000)
    """Largest warm-up amount, quote currency."""
    warmup_randomness_level: Fraction = 0.5
    """0: the heuristic alone decides the side, 1: chance alone."""
    warmup_max_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 72.0
    """A strategy that warms up for longer is set to REDUCING, once, in hours; 0: no limit."""

    model_signal_min_amount: Amount | None = None
    """Amount at the threshold, quote currency; unset: WARMUP_MIN_AMOUNT."""
    model_signal_max_amount: Amount | None = None
    """Amount at certainty, quote currency; unset: WARMUP_MAX_AMOUNT."""
    signal_probability_lead: Fraction = 0.05
    """Least lead of the chosen side's probability over the other side's."""
    signal_confidence_threshold: Fraction | None = None
    """Raises the threshold of a version; it can never lower it."""

    signal_cost_aware: bool = False
    """Act on a classification only where the move it expects exceeds fees, slippage and spread."""

    signal_generation_rate_limit: Positive = 60.0
    """Signals per minute over the fleet, after the burst."""
    signal_generation_burst_allowance: PositiveInt = 10
    """Signals that may follow at once after a quiet time."""
    signal_generation_skip_if_open_order: bool = True
    """No signal while an order of the symbol is pending or partially filled."""
    signal_generation_check_opposite_orders_only: bool = False
    """Only open orders of the opposite side count."""
    signal_validity_seconds: Positive = 5.0
    """A signal not published by then never is; the broker drops it unconsumed, in seconds."""
    signal_in_flight_timeout_seconds: Positive = 10.0
    """Longest wait for the order of the symbol's previous signal, in seconds."""
    short_entries_enabled: bool = False
    """Allow a sell without a long, which opens a short."""

    market_data_max_age_seconds: Positive = 60.0
    """Older vectors, and markets unchanged for longer, are not traded, in seconds."""
    market_data_stale_warning_threshold_seconds: Positive = 30.0
    """Older vectors are warned about, in seconds."""
    balance_data_max_age_seconds: Positive = 60.0
    """Older balances are not relied on, in seconds."""

    balance_adaptation_safety_margin: Annotated[Decimal, Field(gt=0, le=1)] = Decimal("0.95")
    """Fraction of the free balance that may be used."""
    trading_fee_rate: Rate01 = Decimal("0.001")
    """Fee of an order, as a fraction of its value."""
    trading_slippage_rate: Rate01 = Decimal("0.0005")
    """Expected slippage of an order, as a fraction of its value."""
    model_service_max_position_size_ratio: Annotated[Decimal, Field(gt=0, le=1)] = Decimal("0.8")
    """Largest share of MAX_EXPOSURE_QUOTE, or of all positions together, that one symbol may have."""
    max_exposure_quote: Amount | None = None
    """Exposure that the share above is taken of, quote currency; unset: that of all positions together."""
    max_notional_per_hour: Amount | None = None
    """Largest sum of entries in an hour over the fleet, quote currency; unset: no limit."""
    min_order_notional: Amount = Decimal(10)
    """Smallest order where instrument_info does not know the symbol, quote currency."""

    signals_per_minute_trip: PositiveInt = 120
    """More entries of the fleet within a minute set it to HALTED."""
    model_output_frozen_predictions: NonNegativeInt = 100
    """Different rows in a row with the same answer of a model set its strategy to REDUCING; 0: never."""
    signal_processing_delay_alert_threshold_seconds: Positive = 300.0
    """Signals that take longer from decision to publish are an alert, in seconds."""
    signal_outbox_keep_days: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 30.0
    """Intents that were published or expired are deleted once older, in days."""
    monitoring_keep_days: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 90.0
    """Days that skip counts, bars, live sums, warm-up slots, latest outcomes and dead letters are kept."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        wrong = [
            message
            for holds, message in (
                (
                    self.warmup_min_amount <= self.warmup_max_amount,
                    "WARMUP_MIN_AMOUNT must not exceed WARMUP_MAX_AMOUNT",
                ),
                (
                    self.model_policy().min_amount_quote <= self.model_policy().max_amount_quote,
                    "MODEL_SIGNAL_MIN_AMOUNT must not exceed MODEL_SIGNAL_MAX_AMOUNT",
                ),
                (
                    self.market_data_stale_warning_threshold_seconds < self.market_data_max_age_seconds,
                    "MARKET_DATA_STALE_WARNING_THRESHOLD_SECONDS must be below MARKET_DATA_MAX_AGE_SECONDS",
                ),
                (
                    not self.auto_select_assets or bool(self.auto_select_fallback_assets),
                    "AUTO_SELECT_FALLBACK_ASSETS must name a symbol when AUTO_SELECT_ASSETS is true",
                ),
                (
                    self.signals_per_minute_trip
                    >= self.signal_generation_rate_limit + self.signal_generation_burst_allowance,
                    "SIGNALS_PER_MINUTE_TRIP must reach SIGNAL_GENERATION_RATE_LIMIT and its burst together",
                ),
                (
                    self.feature_service_use_queue
                    or self.auto_select_assets
                    or all(map(self.symbols_of, self.strategies())),
                    "TRADING_SYMBOLS must name the symbols to poll when FEATURE_SERVICE_USE_QUEUE is false",
                ),
            )
            if not holds
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def limits(self) -> Limits:
        """The limits as the gates read them."""
        return Limits(
            market_data_max_age_s=self.market_data_max_age_seconds,
            future_tolerance_s=FUTURE_TOLERANCE_S,
            balance_max_age_s=self.balance_data_max_age_seconds,
            validity_s=self.signal_validity_seconds,
            in_flight_timeout_s=self.signal_in_flight_timeout_seconds,
            skip_if_open_order=self.signal_generation_skip_if_open_order,
            opposite_orders_only=self.signal_generation_check_opposite_orders_only,
            short_entries=self.short_entries_enabled,
            fee_rate=self.trading_fee_rate,
            slippage_rate=self.trading_slippage_rate,
            balance_margin=self.balance_adaptation_safety_margin,
            max_position_ratio=self.model_service_max_position_size_ratio,
            max_exposure_quote=self.max_exposure_quote,
            max_order_notional=self.max_order_notional,
            max_notional_per_hour=self.max_notional_per_hour,
            min_order_notional=self.min_order_notional,
            rate=Rate(
                per_minute=self.signal_generation_rate_limit,
                burst=float(self.signal_generation_burst_allowance),
            ),
        )

    def model_policy(self) -> ModelPolicy:
        """What the operator says about acting on a model."""
        smallest, largest = self.model_signal_min_amount, self.model_signal_max_amount
        return ModelPolicy(
            min_amount_quote=self.warmup_min_amount if smallest is None else smallest,
            max_amount_quote=self.warmup_max_amount if largest is None else largest,
            probability_lead=self.signal_probability_lead,
            confidence_threshold=self.signal_confidence_threshold,
            cost_aware=self.signal_cost_aware,
            round_trip_rate=float(2 * (self.trading_fee_rate + self.trading_slippage_rate)),
        )

    def warm_up_limit_hours(self) -> float:
        """How long a strategy may warm up, in hours; 0: for ever, also where it does not warm up at all."""
        return self.warmup_max_hours if self.warmup_mode_enabled else 0.0

    def warm_up(self) -> WarmUp:
        """The warm-up settings as the heuristic reads them."""
        return WarmUp(
            enabled=self.warmup_mode_enabled,
            min_amount_quote=self.warmup_min_amount,
            max_amount_quote=self.warmup_max_amount,
            randomness=self.warmup_randomness_level,
            signals_per_minute=self.warmup_signal_frequency,
        )
