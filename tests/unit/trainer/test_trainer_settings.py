"""What an operator may say to a trainer, and what is refused at once."""

import pytest
from pydantic import ValidationError

from common.settings import problems
from trainer.settings import Settings


def test_the_defaults_are_the_specifications():
    settings = Settings()

    assert settings.promotion().policy == "specification"
    assert settings.promotion().min_accuracy == 0.75
    assert (settings.lengths().train_days, settings.lengths().test_days) == (30, 1)
    assert settings.strategies() == ("default",)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"model_retraining_train_period_days": 5}, "MODEL_RETRAINING_TRAIN_, _VALIDATION_ and _TEST_"),
        ({"model_retraining_test_period_days": 8}, "MODEL_RETRAINING_TRAIN_, _VALIDATION_ and _TEST_"),
        ({"model_retraining_test_period_days": -1}, "MODEL_RETRAINING_TEST_PERIOD_DAYS"),
        (
            {"model_retraining_test_period_days": 0.0005, "model_prediction_horizon_seconds": 60},
            "MODEL_PREDICTION_HORIZON_SECONDS",
        ),
        ({"feature_service_dataset_poll_interval_seconds": 3600}, "FEATURE_SERVICE_DATASET_POLL_INTERVAL"),
        ({"model_retraining_schedule": "every day"}, "MODEL_RETRAINING_SCHEDULE: 'every day' is neither"),
        ({"model_retraining_schedule": "0 0 31 2 *"}, "MODEL_RETRAINING_SCHEDULE: "),
        ({"model_retraining_interval_days": 0}, "MODEL_RETRAINING_INTERVAL_DAYS"),
        ({"training_queue_max_size": 0}, "TRAINING_QUEUE_MAX_SIZE"),
        ({"max_parallel_training": 0}, "MAX_PARALLEL_TRAINING"),
        ({"model_promotion_policy": "newest"}, "MODEL_PROMOTION_POLICY"),
        ({"model_quality_threshold_accuracy": 75}, "MODEL_QUALITY_THRESHOLD_ACCURACY"),
        ({"model_quality_threshold_accuracy": float("nan")}, "MODEL_QUALITY_THRESHOLD_ACCURACY"),
        (
            {"model_type": "logistic_regression", "model_target_type": "regression"},
            "MODEL_TYPE logistic_regression foresees classes only and MODEL_TARGET_TYPE regression",
        ),
        (
            {"model_type": "sgd_classifier", "model_target_type": "risk_adjusted"},
            "MODEL_TYPE sgd_classifier foresees classes only and MODEL_TARGET_TYPE risk_adjusted",
        ),
        (
            {"model_class_weights": "balanced", "model_target_type": "regression"},
            "MODEL_CLASS_WEIGHTS balanced weighs classes and MODEL_TARGET_TYPE regression has none",
        ),
        ({"model_type": "svm"}, "MODEL_TYPE"),
        ({"model_training_min_class_share": 2}, "MODEL_TRAINING_MIN_CLASS_SHARE"),
        ({"trading_strategies": ("a", "a")}, "TRADING_STRATEGIES: names a strategy twice"),
        ({"trading_strategies": ("a" * 101,)}, "TRADING_STRATEGIES"),
    ],
)
def test_what_cannot_work_is_refused_by_name(values, named):
    with pytest.raises(ValidationError) as refused:
        Settings(**values)

    assert any(line.startswith(named) for line in problems(Settings, refused.value))
