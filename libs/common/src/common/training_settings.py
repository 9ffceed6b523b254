"""Settings of the training queue: whoever requests a training keeps to the same rules."""

from typing import Annotated

from pydantic import AfterValidator, PositiveFloat, PositiveInt

from common.core.training_schedule import Schedule, checked
from common.settings import SettingsGroup
from common.training_runs import QueueRules


class TrainingQueueSettings(SettingsGroup):
    """When strategies are trained again, and how many trainings may wait."""

    model_retraining_schedule: Annotated[str, AfterValidator(checked)] | None = None
    """When to train again: five cron fields in UTC, or hourly, daily, weekly; unset: by the interval."""
    model_retraining_interval_days: PositiveFloat = 7.0
    """Without a schedule a strategy is trained again so many days after the last time; fractions allowed."""
    training_queue_enabled: bool = True
    """false: nothing waits; a training is refused while another is not finished."""
    training_queue_max_size: PositiveInt = 10
    """Trainings that may wait (for a dataset or for a trainer); one more is refused."""
    training_force_cancel_on_critical: bool = False
    """true: a CRITICAL request cancels the strategy's running training if that is less urgent."""

    def schedule(self) -> Schedule:
        """When a strategy that has a version is trained again."""
        return Schedule(
            expression=self.model_retraining_schedule, interval_days=self.model_retraining_interval_days
        )

    def queue_rules(self) -> QueueRules:
        """What a request must keep to."""
        return QueueRules(
            enabled=self.training_queue_enabled,
            max_size=self.training_queue_max_size,
            force_cancel_on_critical=self.training_force_cancel_on_critical,
        )
