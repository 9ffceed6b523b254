"""The exit strategy service, composed."""

import functools
import os
import socket
from datetime import timedelta

import structlog
from faststream.asgi.types import ASGIApp
from faststream.rabbit import RabbitBroker

from common import bus, topology
from common.background import every
from common.database import create_engine
from common.feature_service import FeatureService
from common.position_manager import PositionManager
from common.service import Service, create_asgi
from common.signal_outbox import SignalOutbox
from exit_strategy import handlers
from exit_strategy.blind_stop import BlindStop
from exit_strategy.events import Event
from exit_strategy.outage import Outage
from exit_strategy.policy import Policy
from exit_strategy.prices import AskedPrices
from exit_strategy.settings import Settings
from exit_strategy.spool import Spool
from exit_strategy.sweep import Sweep
from exit_strategy.worker import Worker

log = structlog.get_logger(__name__)

SWEEP_INTERVAL_S = 1.0
"""How often silent prices, unanswered exits and intents of silent owners are looked for."""
RECONCILE_INTERVAL_S = 10.0
"""How often positions are compared with the Position Manager's."""


def create_app(settings: Settings) -> ASGIApp:
    """A worker that watches every open position; any number of them are peers."""
    for warning in settings.rule_warnings():
        log.warning(Event.RULE_NEVER_FIRES, reason=warning)
    name = f"exit_strategy@{socket.gethostname()}:{os.getpid()}"
    engine = create_engine(settings, application="exit_strategy", is_pinged=False)
    broker = bus.create_broker(settings, service="exit_strategy")
    outbox = SignalOutbox(engine, broker, owner=name)
    manager = PositionManager(settings)
    features = FeatureService(settings)
    policy = policy_of(settings)
    prices = AskedPrices(features, manager, policy.price_max_age)
    spool = Spool(settings.exit_spool_path)
    alone = settings.model_copy(update={"database_pool_size": 1})
    outage = Outage(create_engine(alone, application="exit_strategy_probe"), spool, owner=name)
    blind = blind_stop(policy, broker, manager, spool)
    worker = Worker(policy, engine, outbox, manager, prices=prices, outage=outage, blind=blind)
    sweep = Sweep(
        worker,
        engine,
        broker,
        manager,
        prices=prices,
        outage=outage,
        blind=blind,
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
            work=[
                reconciling,
                lambda: every(SWEEP_INTERVAL_S, sweep.follow_exits),
                lambda: every(SWEEP_INTERVAL_S, sweep.watch_silence),
                lambda: every(SWEEP_INTERVAL_S, lambda: outbox.expire_lapsed("exit")),
            ],
            closing=[worker.aclose, manager.aclose, features.aclose, outage.aclose],
            needs={"reconciliation": sweep.unready},
            concerns={"prices": sweep.coverage, "positions": sweep.agreement, "rules": sweep.stops},
        )
    )


def policy_of(settings: Settings) -> Policy:
    """What `settings` say of exits."""
    return Policy(
        enabled=settings.exit_strategy_enabled,
        rules_of=functools.cache(settings.rules_of),
        limits=settings.closing_limits(),
        price_max_age=timedelta(seconds=settings.market_data_max_age_seconds),
        debounce=timedelta(milliseconds=settings.exit_debounce_ms),
        price_deviations=settings.exit_price_deviations,
    )


def blind_stop(policy: Policy, broker: RabbitBroker, manager: PositionManager, spool: Spool) -> BlindStop:
    """The stop loss without a database, under the same policy."""
    return BlindStop(
        broker,
        manager,
        spool,
        rules_of=policy.rules_of,
        limits=policy.limits,
        price_max_age=policy.price_max_age,
    )
