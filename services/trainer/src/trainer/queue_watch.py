"""The training queue as operators see it: gauges from its rows, and an alert per strategy that fails.

Read from the database, so that every trainer shows the whole queue, whoever did the work.
"""

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncEngine

from common.alerts import raise_alert, resolve_alert
from common.core.training_queue import TrainingFigures
from common.training_figures import QueueState, last_ends, queue_state, training_figures
from common.training_runs import State

TRAINING_FAILED = "training_failed"
"""Kind of the alert while the last training of a strategy has failed."""

QUEUE_SIZE = Gauge("flotilla_training_queue_size", "Runs that wait for a dataset or a trainer.")
QUEUE_SIZE_MAX = Gauge(
    "flotilla_training_queue_depth_max", "Most runs that ever waited for their first step."
)
QUEUE_WAIT_S = Gauge("flotilla_training_queue_wait_seconds", "How long the oldest waiting run has waited.")
WAIT_S = Gauge(
    "flotilla_training_wait_seconds", "From the request of a run to its first step.", ["statistic"]
)
BUILDING = Gauge("flotilla_training_dataset_builds", "Runs whose dataset is being built.")
RUNNING = Gauge("flotilla_training_running", "Runs that are being trained, over all trainers.")
ENDED = Gauge("flotilla_training_runs", "Runs that ended so.", ["state"])
RECOVERED = Gauge("flotilla_training_recovered", "Runs taken over from trainers that went silent.")
DURATION_S = Gauge(
    "flotilla_training_duration_seconds", "From the first step of a succeeded run to its end.", ["statistic"]
)
FAILING = Gauge(
    "flotilla_training_failing", "1 while the last training of a strategy has failed.", ["strategy_id"]
)
SUCCESS_RATE = Gauge("flotilla_training_success_rate", "Share of the runs that ended with a version.")


class QueueWatch:
    """Keeps gauges and alerts in step with the queue."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def tick(self) -> None:
        """Gauges and alerts say what the queue says."""
        async with self._engine.connect() as connection:
            _show(await queue_state(connection), await training_figures(connection))
            ends = await last_ends(connection)
        for run in ends:
            scope = f"strategy:{run.strategy_id}"
            FAILING.labels(run.strategy_id).set(run.state is State.FAILED)
            async with self._engine.begin() as connection:
                if run.state is State.FAILED:
                    sentence = f"the last training of strategy {run.strategy_id} failed: {run.reason}"
                    await raise_alert(
                        connection, TRAINING_FAILED, scope, sentence, figures={"run_id": str(run.run_id)}
                    )
                else:
                    await resolve_alert(connection, TRAINING_FAILED, scope)


def _show(queue: QueueState, figures: TrainingFigures) -> None:
    QUEUE_SIZE.set(queue.waiting)
    QUEUE_SIZE_MAX.set(figures.max_queue_depth)
    QUEUE_WAIT_S.set(queue.oldest_wait_seconds)
    BUILDING.set(queue.building)
    RUNNING.set(queue.running)
    for state, count in (
        ("succeeded", figures.succeeded),
        ("rejected", figures.rejected),
        ("failed", figures.failed),
        ("cancelled", figures.cancelled),
    ):
        ENDED.labels(state).set(count)
    RECOVERED.set(figures.recovered)
    for gauge, statistic, value in (
        (WAIT_S, "average", figures.average_wait_seconds),
        (WAIT_S, "max", figures.max_wait_seconds),
        (DURATION_S, "average", figures.average_duration_seconds),
        (DURATION_S, "max", figures.max_duration_seconds),
    ):
        if value is not None:
            gauge.labels(statistic).set(value)
    if figures.success_rate is not None:
        SUCCESS_RATE.set(figures.success_rate)
