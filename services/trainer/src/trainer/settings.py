"""The trainer's settings: the operators' names, their units and ranges."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from common.settings import (
    BusSettings,
    CommaSeparated,
    DatabaseSettings,
    FeatureServiceSettings,
    ModelStorageSettings,
    Port,
    ProcessSettings,
    StrategySettings,
)
from trainer.core import promotion
from trainer.core.periods import Lengths
from trainer.core.promotion import Policy
from trainer.core.threshold import Costs

Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]


class Settings(
    DatabaseSettings,
    BusSettings,
    ProcessSettings,
    StrategySettings,
    ModelStorageSettings,
    FeatureServiceSettings,
):
    """Everything that an operator can say to a trainer."""

    trainer_port: Port = 4502
    """Port of health and metrics."""
    feature_service_dataset_storage_path: Path = Path("/datasets")
    """Directory for datasets while a model is trained on them."""
    feature_service_dataset_build_timeout_seconds: PositiveFloat = 3600.0
    """A dataset not ready by then is given up, in seconds."""
    feature_service_dataset_poll_interval_seconds: PositiveFloat = 60.0
    """How often an announced or silent build is asked for, in seconds."""

    model_retraining_train_period_days: PositiveFloat = 30.0
    """Days that a model is fitted to; fractions allowed."""
    model_retraining_validation_period_days: PositiveFloat = 7.0
    """Days that stop the fit, calibrate it and choose its threshold."""
    model_retraining_test_period_days: PositiveFloat = 1.0
    """The newest days: they alone decide about promotion."""
    model_prediction_horizon_seconds: PositiveInt = 60
    """How far ahead a label looks, in seconds."""
    model_classification_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.005
    """Smallest return that is labelled up or down, as a fraction."""
    model_training_min_dataset_size: PositiveInt = 1000
    """Rows of train needed after the purge."""
    model_training_max_duration_seconds: PositiveFloat = 1800.0
    """A training (download and fit) is ended then, in seconds."""
    model_training_retry_seconds: PositiveFloat = 300.0
    """Pause before a strategy without any version is trained anew, in seconds; doubles each time."""
    model_training_threads: PositiveInt = 2
    """Threads of a fit."""
    model_excluded_features: CommaSeparated = ("mid_price",)
    """Features that are never a model's input: price levels do not stay where they were trained."""
    model_random_seed: NonNegativeInt = 1
    """Seed of the fit and of its evaluation: the same data gives the same model."""

    model_promotion_policy: Policy = Policy.SPECIFICATION
    """`honest`: proven lift and no worse than the active version; `specification`: and a minimum accuracy;
    `manual`: as honest, but an operator activates."""
    model_promotion_min_test_rows: PositiveFloat = 1000.0
    """Effective rows of test (rows over rows per horizon) below which nothing is promoted."""
    model_quality_threshold_accuracy: Fraction = 0.75
    """Smallest test accuracy under the policy `specification`."""
    model_threshold_min_trade_share: Fraction = 0.02
    """Share of the validation rows that a version's probability threshold must let act."""
    trading_fee_rate: Rate = 0.001
    """Fee of an order, as a fraction of its value."""
    trading_slippage_rate: Rate = 0.0005
    """Expected slippage of an order, as a fraction of its value."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        days = (
            self.model_retraining_train_period_days,
            self.model_retraining_validation_period_days,
            self.model_retraining_test_period_days,
        )
        wrong = [
            message
            for holds, message in (
                (
                    days[0] >= days[1] >= days[2],
                    "MODEL_RETRAINING_TRAIN_, _VALIDATION_ and _TEST_PERIOD_DAYS must not grow in this order",
                ),
                (
                    self.model_prediction_horizon_seconds < days[2] * 86_400,
                    "MODEL_PREDICTION_HORIZON_SECONDS must be shorter than MODEL_RETRAINING_TEST_PERIOD_DAYS",
                ),
                (
                    self.feature_service_dataset_poll_interval_seconds
                    < self.feature_service_dataset_build_timeout_seconds,
                    "FEATURE_SERVICE_DATASET_POLL_INTERVAL_SECONDS must be below _BUILD_TIMEOUT_SECONDS",
                ),
            )
            if not holds
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def lengths(self) -> Lengths:
        """How long each split is."""
        return Lengths(
            train_days=self.model_retraining_train_period_days,
            validation_days=self.model_retraining_validation_period_days,
            test_days=self.model_retraining_test_period_days,
        )

    def costs(self) -> Costs:
        """What a trade costs."""
        return Costs(fee_rate=self.trading_fee_rate, slippage_rate=self.trading_slippage_rate)

    def promotion(self) -> promotion.Rules:
        """The gate's rules."""
        return promotion.Rules(
            policy=self.model_promotion_policy,
            min_effective_rows=self.model_promotion_min_test_rows,
            min_accuracy=self.model_quality_threshold_accuracy,
        )
