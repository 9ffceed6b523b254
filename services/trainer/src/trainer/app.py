"""The trainer service, composed."""

import os
import socket

from faststream.asgi.types import ASGIApp

from common import bus, topology
from common.background import every
from common.database import create_engine
from common.feature_service import FeatureService
from common.service import Service, create_asgi
from trainer import handlers
from trainer.builds import Builds
from trainer.datasets import Datasets
from trainer.settings import Settings
from trainer.training import Training

TICK_S = 1.0
"""How often the queue of runs is looked at."""
SWEEP_INTERVAL_S = 3600.0
"""How often leftovers are removed."""


def create_app(settings: Settings) -> ASGIApp:
    """A trainer that brings datasets about and trains one run at a time."""
    engine = create_engine(settings, application="trainer")
    broker = bus.create_broker(settings, service="trainer")
    owner = f"trainer@{socket.gethostname()}:{os.getpid()}"
    datasets, features = Datasets(settings), FeatureService(settings)
    builds = Builds(settings, engine, datasets, features, owner=owner)
    training = Training(settings, engine, broker, datasets, owner=owner)
    handlers.subscribe(broker, builds)
    return create_asgi(
        Service(
            name="trainer",
            engine=engine,
            broker=broker,
            queues=[topology.DATASET_READY],
            consumed=[topology.DATASET_READY],
            work=[
                lambda: every(TICK_S, builds.tick),
                lambda: every(TICK_S, training.tick),
                lambda: every(SWEEP_INTERVAL_S, training.sweep),
            ],
            closing=[datasets.aclose, features.aclose],
        )
    )
