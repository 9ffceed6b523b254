"""The trainer service, composed."""

import os
import socket

from faststream.asgi.types import ASGIApp

from common import bus, topology
from common.background import every
from common.database import create_engine
from common.feature_service import FeatureService
from common.model_storage import storage_check, store_of
from common.service import Service, create_asgi
from trainer import handlers, order_events
from trainer.builds import Builds
from trainer.datasets import Datasets
from trainer.executions import Executions
from trainer.order_events import OrderEventsWatch
from trainer.quality_monitor import QualityMonitor
from trainer.queue_watch import QueueWatch
from trainer.retention import Retention
from trainer.schedules import Schedules
from trainer.settings import Settings
from trainer.training import Training

TICK_S = 1.0
"""How often the queue of runs is looked at."""
SCHEDULES_INTERVAL_S = 5.0
"""How often it is asked whether a strategy is due for a training."""
WATCH_INTERVAL_S = 15.0
"""How often the queue's figures and alerts are brought up to date."""
SWEEP_INTERVAL_S = 3600.0
"""How often leftovers are removed."""


def create_app(settings: Settings) -> ASGIApp:
    """A trainer that brings datasets about and trains TRAINER_PARALLEL runs at a time."""
    engine = create_engine(settings, application="trainer")
    broker = bus.create_broker(settings, service="trainer")
    owner = f"trainer@{socket.gethostname()}:{os.getpid()}"
    datasets, features = Datasets(settings), FeatureService(settings)
    builds = Builds(settings, engine, datasets, features, owner=owner)
    training = Training(settings, engine, broker, datasets, owner=owner)
    retention, monitor = Retention(settings, engine), QualityMonitor(settings, engine)
    schedules, watch = Schedules(settings, engine), QueueWatch(engine)
    handlers.subscribe(broker, builds)
    by_queue, poll_s = settings.execution_source == "queue", settings.execution_poll_interval_seconds
    executions, strangers = Executions(engine), OrderEventsWatch(broker, engine, reads=by_queue)
    if by_queue:
        order_events.subscribe(broker, executions)
    read = [topology.DATASET_READY, *([topology.ORDER_EVENTS] if by_queue else [])]
    return create_asgi(
        Service(
            name="trainer",
            engine=engine,
            broker=broker,
            queues=read,
            work=[
                lambda: every(SCHEDULES_INTERVAL_S, schedules.tick),
                lambda: every(TICK_S, builds.tick),
                lambda: every(TICK_S, training.recover),
                *[lambda: every(TICK_S, training.tick)] * settings.trainer_parallel,
                lambda: every(WATCH_INTERVAL_S, watch.tick),
                lambda: every(WATCH_INTERVAL_S, retention.look),
                lambda: every(SWEEP_INTERVAL_S, training.sweep),
                lambda: every(SWEEP_INTERVAL_S, retention.tick),
                lambda: every(settings.quality_monitor_interval_seconds, monitor.tick),
                lambda: every(order_events.WATCH_INTERVAL_S, strangers.look),
                *([] if by_queue else [lambda: every(poll_s, executions.look)]),
            ],
            closing=[datasets.aclose, features.aclose],
            concerns={"model_storage": storage_check(settings, store_of(settings), writes=True)},
        )
    )
