"""The trainer's settings: the operators' names, their units and ranges."""

import importlib.util
from pathlib import Path
from typing import Annotated, Literal, Self

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
from common.training_settings import TrainingQueueSettings
from trainer.core import promotion
from trainer.core.dataset import MIN_CLASS_SHARE
from trainer.core.periods import Lengths
from trainer.core.promotion import Policy
from trainer.core.recipe import ClassWeights, ModelType, TargetType, unservable
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
    TrainingQueueSettings,
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

    trainer_parallel: PositiveInt = 1
    """Trainings that this process runs side by side."""
    max_parallel_training: PositiveInt = 3
    """Trainings that run at once over all trainers."""
    training_defer_while_positions_open: bool = False
    """true: no dataset is built while a position is open, because live vectors stop during a build."""

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
    model_type: ModelType = ModelType.XGBOOST
    """`xgboost`, `random_forest`, or for classes only `logistic_regression` or `sgd_classifier`."""
    model_target_type: TargetType = TargetType.CLASSIFICATION
    """What is foreseen: `classification` (down, flat, up), `regression` (the return over the horizon) or
    `risk_adjusted` (that return in units of its volatility)."""
    model_class_weights: ClassWeights = ClassWeights.NONE
    """How much rows of rare classes count in the fit: `none`, `balanced` or `sqrt_balanced`."""
    model_volatility_feature: str = "volatility_5m"
    """The feature that a risk-adjusted target was divided by."""
    model_training_min_dataset_size: PositiveInt = 1000
    """Rows of train needed after the purge."""
    model_training_min_class_share: Fraction = MIN_CLASS_SHARE
    """Smallest share of train that each class must have, as a fraction."""
    model_training_max_duration_seconds: PositiveFloat = 1800.0
    """A training (download and fit) is stopped then and has failed, in seconds."""
    model_training_retry_seconds: PositiveFloat = 300.0
    """Pause before a strategy without any version is trained anew, in seconds; doubles each time."""
    model_training_threads: PositiveInt = 2
    """Threads of a fit."""
    model_training_memory_fraction: Fraction = 0.25
    """Share of the machine's or container's memory above which the features of train and validation (float32)
    are boosted from files below FEATURE_SERVICE_DATASET_STORAGE_PATH, as a fraction."""
    model_training_dask_scheduler: str | None = None
    """Address of the Dask scheduler whose workers boost (`tcp://host:8786`); unset: the trainer does."""
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
    model_promotion_evidence_runs: PositiveInt = 8
    """So many runs of one recipe, the new one included, are judged by their test rows together."""
    model_promotion_require_profit: bool = False
    """true: the thresholded signals must also have earned more than fees and slippage on test."""
    model_threshold_min_trade_share: Fraction = 0.02
    """Share of the validation rows that a version's probability threshold must let act."""
    signal_probability_lead: Fraction = 0.05
    """Least lead of the chosen side's probability over the other side's."""
    trading_fee_rate: Rate = 0.001
    """Fee of an order, as a fraction of its value."""
    trading_slippage_rate: Rate = 0.0005
    """Expected slippage of an order, as a fraction of its value."""

    model_keep_versions: PositiveInt = 20
    """Newest versions of a strategy whose files are kept; those it traded with lately are kept besides."""
    model_retention_policy: Literal["delete", "archive"] = "delete"
    """What becomes of the files of older versions; their rows and figures stay for ever."""
    model_archive_path: Path | None = None
    """Where archived versions go; unset: `archive` below MODEL_STORAGE_PATH."""
    quality_monitor_interval_seconds: PositiveFloat = 3600.0
    """How often the active versions' quality is looked at, in seconds."""
    quality_degradation_drop: Fraction = 0.05
    """Accuracy lost since promotion above which a version counts as degraded, as a fraction of all rows."""
    quality_monitor_min_live_rows: PositiveInt = 1000
    """Live predictions that must have been scored before they count; the newest hours first."""

    execution_source: Literal["orders", "queue"] = "orders"
    """Where executions are read: the table `orders`, or the queue of order events if nobody else reads it."""
    execution_poll_interval_seconds: PositiveFloat = 5.0
    """How often `orders` is read, in seconds."""

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
        wrong += unservable(self.model_type, self.model_target_type, self.model_class_weights)
        wrong += _missing_extra(self.model_training_dask_scheduler)
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
            require_profit=self.model_promotion_require_profit,
        )


def _missing_extra(scheduler: str | None) -> tuple[str, ...]:
    if not scheduler or all(importlib.util.find_spec(name) for name in ("dask", "distributed", "pandas")):
        return ()
    return ("MODEL_TRAINING_DASK_SCHEDULER needs Dask: install flotilla-trainer with its extra `dask`",)
