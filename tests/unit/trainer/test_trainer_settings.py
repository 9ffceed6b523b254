"""What an operator may say to a trainer, and what is refused at once."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from common.settings import problems
from trainer.core.triggers import History, bootstrap_due
from trainer.settings import Settings

NOW = datetime(2026, 3, 1, tzinfo=UTC)


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
        ({"model_promotion_policy": "newest"}, "MODEL_PROMOTION_POLICY"),
        ({"model_quality_threshold_accuracy": 75}, "MODEL_QUALITY_THRESHOLD_ACCURACY"),
        ({"model_quality_threshold_accuracy": float("nan")}, "MODEL_QUALITY_THRESHOLD_ACCURACY"),
        ({"trading_strategies": ("a", "a")}, "TRADING_STRATEGIES: names a strategy twice"),
        ({"trading_strategies": ("a" * 101,)}, "TRADING_STRATEGIES"),
    ],
)
def test_what_cannot_work_is_refused_by_name(values, named):
    with pytest.raises(ValidationError) as refused:
        Settings(**values)

    assert any(line.startswith(named) for line in problems(Settings, refused.value))


@pytest.mark.parametrize(
    ("fruitless", "ago_s", "due"),
    [
        (0, None, True),
        (1, 299, False),
        (1, 300, True),
        (3, 1199, False),
        (3, 1200, True),
        (40, 6 * 3600, True),  # the pause stops growing
        (40, 6 * 3600 - 1, False),
    ],
)
def test_a_fruitless_strategy_is_trained_anew_after_a_growing_pause(fruitless, ago_s, due):
    last = None if ago_s is None else NOW - timedelta(seconds=ago_s)

    assert bootstrap_due(History(fruitless=fruitless, last_finished_at=last), retry_s=300, now=NOW) is due
