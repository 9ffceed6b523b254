"""The API service, composed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from pydantic import SecretStr

from api import auth, description, problems
from api.attempts import Attempts
from api.broadcast import Broadcast
from api.console import routes as console
from api.dead_letters import COLLECT_INTERVAL_S, COUNT_INTERVAL_S, Collector
from api.parameters import only_known_parameters
from api.request_log import observed
from api.routes import (
    activation,
    audit,
    closing,
    comparison,
    console_versions,
    dead_letters,
    decisions,
    events,
    executions,
    exit_rules,
    figures,
    fleet,
    fleet_health,
    health,
    metrics,
    models,
    monitoring,
    performance,
    positions,
    signals,
    strategies,
    trading_states,
    training,
    training_status,
)
from api.safe_headers import safe
from api.settings import Settings
from api.traces import traced
from common import bus
from common.background import BackgroundTasks, every
from common.database import create_engine
from common.model_storage import storage_check, store_of
from common.probes import Probes, database_check, queue_check
from common.telemetry import Event

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 256 * 1024
"""A longer body is refused before it is read."""

_BROADCAST = "broadcast"


def create_app(settings: Settings) -> Litestar:
    """The management API: everything but health and metrics needs the key, the description included."""
    engine = create_engine(settings, application="api", is_pinged=False)
    broker = bus.create_broker(settings, service="api")
    store = store_of(settings)
    probes = Probes(
        "model-service",
        database=database_check(engine),
        queue=queue_check(broker),
        concerns={"model_storage": storage_check(settings, store, writes=False)},
    )
    collector = Collector(broker, engine)
    broadcast = Broadcast(
        engine,
        interval_s=settings.model_service_event_poll_seconds,
        max_listeners=settings.model_service_max_event_listeners,
    )

    async def collect() -> None:
        await bus.connect(broker)
        await every(COLLECT_INTERVAL_S, collector.collect)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        log.info(Event.SERVICE_STARTED)
        async with BackgroundTasks() as tasks:
            tasks.start(collect())
            tasks.start(every(COUNT_INTERVAL_S, collector.count))
            yield
        await broadcast.stop()
        await broker.stop()
        await engine.dispose()
        log.info(Event.SERVICE_STOPPED)

    app = Litestar(
        [
            *health.routes(probes, store),
            *console.routes(),
            _version_1(
                settings=settings,
                engine=engine,
                broker=broker,
                probes=probes,
                broadcast=broadcast,
                store=store,
            ),
        ],
        lifespan=[lifespan],
        exception_handlers=problems.handlers(),
        openapi_config=description.config(),
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
        debug=False,
    )
    app.state[_BROADCAST] = broadcast
    app.asgi_handler = _outside_of_the_routes(app.asgi_handler, settings)
    return app


def end_streams(app: Litestar) -> None:
    """Whoever hears the event stream is told that it is over: a stop need not wait for them."""
    app.state[_BROADCAST].end()


# Outside of the router, so that a path that does not exist asks for the key as well.
def _outside_of_the_routes(app: ASGIApp, settings: Settings) -> ASGIApp:
    keys = auth.Keys(
        settings.model_service_api_key.get_secret_value(),
        _revealed(settings.model_service_readonly_api_key),
        _revealed(settings.model_service_api_key_previous),
    )
    attempts = Attempts(settings.model_service_wrong_keys_per_minute)
    open_paths = health.PATHS | console.PATHS
    keyed = auth.keyed(app, keys, attempts, open_paths=open_paths)
    return safe(traced(observed(problems.guarded(keyed), quiet_paths=open_paths)))


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


# `provided`: what routes may ask for, by the name of their argument.
def _version_1(**provided: object) -> Router:
    return Router(
        "/api/v1",
        route_handlers=[
            _tagged(
                "models",
                models.list_models,
                models.get_model,
                metrics.list_metrics,
                metrics.metric_series,
                comparison.compare,
                comparison.calibration,
            ),
            _tagged(
                "activation",
                activation.activate,
                activation.roll_back,
                activation.deactivate,
                activation.list_activations,
            ),
            _tagged(
                "training",
                training.trigger,
                training.build_dataset,
                training.cancel_run,
                training_status.status,
                training_status.schedule,
                training_status.list_runs,
                training_status.get_run,
            ),
            _tagged(
                "trading",
                strategies.list_strategies,
                signals.list_signals,
                signals.get_signal,
                decisions.list_decisions,
                executions.list_executions,
                positions.list_positions,
                positions.get_position,
                closing.close_position,
                exit_rules.get_exit_rules,
            ),
            _tagged("performance", performance.time_series, performance.summary),
            _tagged(
                "trading states",
                trading_states.list_trading_states,
                trading_states.set_trading_state,
                trading_states.pause,
                trading_states.reduce,
                trading_states.resume,
            ),
            _tagged(
                "console",
                console_versions.judged_versions,
                figures.price_figure,
                figures.skips_figure,
                figures.equity_figure,
                figures.calibration_figure,
                figures.confusion_figure,
            ),
            _tagged("fleet", fleet.list_replicas, fleet.list_modes),
            _tagged("events", events.hear_events),
            _tagged(
                "monitoring",
                monitoring.skip_metrics,
                monitoring.get_processing_delay,
                monitoring.list_outcomes,
                monitoring.list_bars,
                monitoring.list_alerts,
                metrics.models_performance,
                fleet_health.health_details,
            ),
            _tagged("audit", audit.list_actions),
            _tagged(
                "dead letters",
                dead_letters.list_letters,
                dead_letters.get_letter,
                dead_letters.replay_letter,
                dead_letters.discard_letter,
            ),
        ],
        guards=[only_known_parameters],
        security=[{description.SECURITY: []}],
        dependencies={name: _provide(value) for name, value in provided.items()},
    )


def _provide(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)


def _tagged(tag: str, *routes: HTTPRouteHandler) -> Router:
    return Router("/", route_handlers=routes, tags=[tag])
