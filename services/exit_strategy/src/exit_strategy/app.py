"""The exit strategy service, composed."""

import functools
import os
import socket
from datetime import timedelta

from faststream.asgi.types import ASGIApp

from common import bus, topology
from common.background import every
from common.core.exits.rules import Rules
from common.database import create_engine
from common.feature_service import FeatureService
from common.position_manager import PositionManager
from common.service import Service, create_asgi
from common.signal_outbox import SignalOutbox
from exit_strategy import handlers
from exit_strategy.prices import AskedPrices
from exit_strategy.settings import Settings
from exit_strategy.sweep import Sweep
from exit_strategy.worker import Policy, Worker

SWEEP_INTERVAL_S = 1.0
"""How often silent prices, unanswered exits and intents of silent owners are looked for."""
RECONCILE_INTERVAL_S = 10.0
"""How often positions are compared with the Position Manager's."""


def create_app(settings: Settings) -> ASGIApp:
    """A worker that watches every open position; any number of them are peers."""
    engine = create_engine(settings, application="exit_strategy")
    broker = bus.create_broker(settings, service="exit_strategy")
    outbox = SignalOutbox(engine, broker, owner=f"exit_strategy@{socket.gethostname()}:{os.getpid()}")
    manager = PositionManager(settings)
    features = FeatureService(settings)
    worker = Worker(_policy(settings), engine, outbox, manager)
    sweep = Sweep(
        worker,
        engine,
        manager,
        AskedPrices(features, timedelta(seconds=settings.market_data_max_age_seconds)),
        silence=timedelta(seconds=settings.exit_silence_seconds),
    )
    handlers.subscribe(broker, worker, sweep)

    async def reconciling() -> None:
        await sweep.start()
        await every(RECONCILE_INTERVAL_S, sweep.reconcile)

    return create_asgi(
        Service(
            name="exit_strategy",
            engine=engine,
            broker=broker,
            queues=[topology.POSITION_UPDATED, topology.TRADING_SIGNALS],
            consumed=[topology.POSITION_UPDATED],
            work=[
                reconciling,
                lambda: every(SWEEP_INTERVAL_S, sweep.follow_exits),
                lambda: every(SWEEP_INTERVAL_S, sweep.watch_silence),
                lambda: every(SWEEP_INTERVAL_S, lambda: outbox.expire_lapsed("exit")),
            ],
            closing=[manager.aclose, features.aclose],
            concerns={"prices": sweep.coverage, "positions": sweep.agreement},
        )
    )


def _policy(settings: Settings) -> Policy:
    @functools.cache
    def rules_of(strategy_id: str, symbol: str) -> Rules:
        return settings.of_strategy(strategy_id, symbol).rules()

    return Policy(
        enabled=settings.exit_strategy_enabled,
        rules_of=rules_of,
        limits=settings.closing_limits(),
        price_max_age=timedelta(seconds=settings.market_data_max_age_seconds),
    )
