"""The inference service, composed."""

import os
import socket

import msgspec
from faststream.asgi.types import ASGIApp
from faststream.rabbit import RabbitBroker
from sqlalchemy.ext.asyncio import AsyncEngine

from common import bus, topology
from common.background import every
from common.database import create_engine
from common.feature_service import FeatureService
from common.model_storage import storage_check, store_of
from common.position_manager import CachedPositions, PositionManager
from common.probes import Check, consumer_check
from common.service import Service, create_asgi
from common.signal_outbox import SignalOutbox
from common.ws_gateway import WsGateway
from inference import assets, empty_slots, handlers, position_prices
from inference.admission import Admission
from inference.assets import ConfiguredAssets, SelectedAssets, configured_symbols
from inference.empty_slots import EmptySlots
from inference.feature_fallback import RestVectors, SilentStreams, polled_symbols
from inference.holdings import Holdings
from inference.live_vectors import LiveVectors, LiveVectorsLimits
from inference.models import ServedModels
from inference.policy import ConfiguredPolicies
from inference.position_prices import PositionPrices
from inference.proposals import Proposals
from inference.replicas import HEART_BEAT_S, Replica
from inference.settings import Settings
from inference.take_profit import TakeProfits
from inference.vector_feed import VectorFeed
from inference.watch import Watch, Work
from inference.worker import Worker

NAME = "inference"
RELAY_INTERVAL_S = 1.0
"""How often intents of silent owners are looked for, and peers told which streams are alive."""
REGISTRY_INTERVAL_S = 10.0
"""How often the registry is asked, whatever was announced."""


def create_app(settings: Settings) -> ASGIApp:
    """A worker that consumes the stream, or polls where the settings say so."""
    engine = create_engine(settings, application=NAME)
    broker = bus.create_broker(settings, service=NAME)
    replica = f"{NAME}@{socket.gethostname()}:{os.getpid()}"
    outbox = SignalOutbox(engine, broker, owner=replica, state_initial=settings.trading_state_initial)
    manager, gateway = PositionManager(settings), WsGateway(settings)
    positions = CachedPositions(manager, settings)
    store = store_of(settings)
    models = ServedModels(settings.strategies(), store, engine)
    peer = Replica(replica, models, engine)
    live = LiveVectors(_live_limits(settings))
    chosen = _assets(settings, engine, live)
    known_prices = PositionPrices(manager.positions, live, settings.market_features())
    slots = EmptySlots(
        engine, replica, live, _warming(settings, models), signals_per_minute=settings.warmup_signal_frequency
    )
    watch = Watch(settings, engine, broker, gateway, replica)
    policies, holdings = ConfiguredPolicies(settings), Holdings(positions)
    policies.warn_of_shared_symbols()
    worker = Worker(
        policies,
        Proposals(models, settings.alignment(), watch.predictions()),
        Admission(engine, outbox, holdings),
        outbox,
        watch.outcomes,
        take_profit=TakeProfits(settings, engine, outbox, positions),
        traded=chosen.symbols,
        is_held=lambda symbol: positions.peek(symbol) is not None,
        known_price=known_prices.of,
        listeners=watch.listeners(holdings),
    )
    handlers.subscribe_to_hints(broker, models, positions, live)
    sources = _sources(settings, broker, worker, live, chosen)
    return create_asgi(
        Service(
            name=NAME,
            engine=engine,
            broker=broker,
            queues=[
                topology.TRADING_SIGNALS,
                topology.POSITION_UPDATED,
                *(consumer.queue for consumer in sources.consumers),
            ],
            consumers=sources.consumers,
            work=[
                lambda: every(RELAY_INTERVAL_S, lambda: outbox.relay("entry")),
                lambda: every(RELAY_INTERVAL_S, lambda: live.tell(broker)),
                lambda: every(REGISTRY_INTERVAL_S, models.refresh),
                lambda: every(HEART_BEAT_S, peer.beat),
                lambda: every(position_prices.REFRESH_INTERVAL_S, known_prices.refresh),
                lambda: every(empty_slots.LOOK_INTERVAL_S, slots.look),
                positions.follow,
                *sources.work,
                *watch.work(),
            ],
            closing=[*watch.closing(), peer.leave, *sources.closing, manager.aclose, gateway.aclose],
            needs={"registry": models.unread},
            concerns={
                "models": models.problem,
                "model_storage": storage_check(settings, store, writes=False),
                "exit_workers": _exit_workers(broker, settings.position_cache_ttl_seconds),
                **sources.concerns,
            },
        )
    )


class _Sources(msgspec.Struct, frozen=True, kw_only=True):
    consumers: list[VectorFeed]
    work: list[Work]
    closing: list[Work]
    concerns: dict[str, Check]


def _sources(
    settings: Settings,
    broker: RabbitBroker,
    worker: Worker,
    live: LiveVectors,
    chosen: ConfiguredAssets | SelectedAssets,
) -> _Sources:
    features, take = FeatureService(settings), handlers.taking(worker, live)
    consumers: list[VectorFeed] = []
    concerns: dict[str, Check] = {}
    work: list[Work] = []
    if settings.feature_service_use_queue:
        dead_letter = bus.dead_letters(broker, service=NAME)
        prefetch = settings.feature_stream_prefetch
        consumers.append(VectorFeed(broker, worker, live, dead_letter, prefetch=prefetch))
        silent = SilentStreams(live, chosen.symbols)
        rest = RestVectors(features, take, silent.symbols)
        concerns["streams"] = silent.problem
    else:
        rest = RestVectors(features, take, lambda: polled_symbols(live, chosen.symbols))
    if isinstance(chosen, SelectedAssets):
        refresh = chosen.refresh
        work.append(lambda: every(assets.REFRESH_INTERVAL_S, refresh))
        concerns["assets"] = chosen.problem
    return _Sources(
        consumers=consumers,
        work=[*work, rest.run],
        closing=[features.aclose],
        concerns={**concerns, "feature_service": rest.problem},
    )


def _assets(settings: Settings, engine: AsyncEngine, live: LiveVectors) -> ConfiguredAssets | SelectedAssets:
    symbols = configured_symbols(settings)
    if not settings.auto_select_assets:
        return ConfiguredAssets(symbols)
    return SelectedAssets(settings, symbols, engine, live, settings.market_features())


def _live_limits(settings: Settings) -> LiveVectorsLimits:
    return LiveVectorsLimits(
        ttl_s=settings.feature_service_feature_cache_ttl_seconds,
        silence_s=settings.feature_stream_silence_seconds,
        max_age_s=settings.market_data_max_age_seconds,
    )


def _warming(settings: Settings, models: ServedModels) -> empty_slots.Warming:
    enabled = {
        name: settings.symbols_of(name)
        for name in settings.strategies()
        if settings.of_strategy(name).warmup_mode_enabled
    }

    def warming() -> dict[str, tuple[str, ...]]:
        return {
            name: symbols
            for name, symbols in enabled.items()
            if (serving := models.of(name)) is not None and serving.warms_up
        }

    return warming


# The exit worker alone consumes position updates, and re-announces them to us.
def _exit_workers(broker: RabbitBroker, ttl_s: float) -> Check:
    consumed = consumer_check(broker, topology.POSITION_UPDATED)

    async def check() -> str | None:
        problem = await consumed()
        if problem is None:
            return None
        return f"{problem}: changes of positions are seen only after POSITION_CACHE_TTL_SECONDS ({ttl_s:g} s)"

    return check
