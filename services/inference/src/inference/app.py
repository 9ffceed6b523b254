"""The inference service, composed."""

import os
import socket

from faststream.asgi.types import ASGIApp

from common import bus, topology
from common.background import every
from common.database import create_engine
from common.feature_service import FeatureService
from common.position_manager import CachedPositions, PositionManager
from common.service import Service, create_asgi
from common.signal_outbox import SignalOutbox
from inference import handlers
from inference.models import ServedModels
from inference.price_feed import PriceFeed
from inference.settings import Settings
from inference.worker import Policy, Worker

RELAY_INTERVAL_S = 1.0
"""How often intents of silent owners are looked for."""
REGISTRY_INTERVAL_S = 10.0
"""How often the registry is asked, whatever was announced."""
FLUSH_INTERVAL_S = 2.0
"""How often skip counts are stored."""


def create_app(settings: Settings) -> ASGIApp:
    """A worker that consumes the stream, or polls where the settings say so."""
    engine = create_engine(settings, application="inference")
    broker = bus.create_broker(settings, service="inference")
    outbox = SignalOutbox(engine, broker, owner=f"inference@{socket.gethostname()}:{os.getpid()}")
    manager = PositionManager(settings)
    positions = CachedPositions(manager, settings)
    models = ServedModels(settings.strategies(), settings.model_storage_path, engine)
    prices = PriceFeed(broker)
    worker = Worker(_policy(settings), engine, outbox, models=models, positions=positions, prices=prices)
    features = FeatureService(settings)
    work = [
        lambda: every(RELAY_INTERVAL_S, lambda: outbox.relay("entry")),
        lambda: every(FLUSH_INTERVAL_S, lambda: worker.skips.flush(engine)),
        lambda: every(REGISTRY_INTERVAL_S, models.refresh),
        prices.run,
    ]
    handlers.subscribe_to_activations(broker, models)
    handlers.subscribe_to_position_changes(broker, positions)
    consumed = [topology.FEATURES_LIVE] if settings.feature_service_use_queue else []
    if settings.feature_service_use_queue:
        handlers.subscribe(broker, worker)
    else:
        work.append(lambda: handlers.poll(features, worker, settings.trading_symbols))
    return create_asgi(
        Service(
            name="inference",
            engine=engine,
            broker=broker,
            queues=[topology.TRADING_SIGNALS, *consumed],
            consumed=consumed,
            work=work,
            closing=[lambda: worker.skips.flush(engine), features.aclose, manager.aclose],
            concerns={"models": models.problem},
        )
    )


def _policy(settings: Settings) -> Policy:
    return Policy(
        strategies=settings.strategies(),
        symbols=frozenset(settings.trading_symbols),
        state_initial=settings.trading_state_initial,
        stale_warning_s=settings.market_data_stale_warning_threshold_seconds,
        limits=settings.limits(),
        warm_up=settings.warm_up(),
        model=settings.model_policy(),
    )
