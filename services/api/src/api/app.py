"""The API service, composed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from faststream.rabbit import RabbitBroker
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from sqlalchemy.ext.asyncio import AsyncEngine

from api import auth, problems
from api.parameters import only_known_parameters
from api.routes import (
    activation,
    closing,
    fleet,
    health,
    models,
    monitoring,
    performance,
    trading,
    trading_states,
    training,
)
from api.settings import Settings
from api.traces import traced
from common import bus
from common.background import BackgroundTasks
from common.database import create_engine
from common.probes import Probes, database_check, queue_check
from common.telemetry import Event

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 256 * 1024
"""A longer body is refused before it is read."""

_SECURITY = "ApiKey"


def create_app(settings: Settings) -> Litestar:
    """The management API: everything but health and metrics needs the key, the description included."""
    engine = create_engine(settings, application="api")
    broker = bus.create_broker(settings, service="api")
    probes = Probes("model-service", database=database_check(engine), queue=queue_check(broker))

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        log.info(Event.SERVICE_STARTED)
        async with BackgroundTasks() as tasks:
            tasks.start(bus.connect(broker))
            yield
        await broker.stop()
        await engine.dispose()
        log.info(Event.SERVICE_STOPPED)

    app = Litestar(
        [*health.routes(probes), _version_1(settings, engine, broker)],
        lifespan=[lifespan],
        exception_handlers=problems.handlers(),
        openapi_config=_description(),
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
        debug=False,
    )
    # Outside of the router, so that a path that does not exist asks for the key as well.
    key = settings.model_service_api_key.get_secret_value()
    app.asgi_handler = traced(auth.keyed(app.asgi_handler, key, open_paths=health.PATHS))
    return app


def _version_1(settings: Settings, engine: AsyncEngine, broker: RabbitBroker) -> Router:
    return Router(
        "/api/v1",
        route_handlers=[
            _tagged("models", models.list_models, models.get_model, models.list_metrics),
            _tagged(
                "activation",
                activation.activate,
                activation.activate_by_name,
                activation.roll_back,
                activation.deactivate,
                activation.list_activations,
            ),
            _tagged(
                "training",
                training.trigger,
                training.status,
                training.list_runs,
                training.get_run,
                training.cancel_run,
            ),
            _tagged(
                "trading",
                trading.list_strategies,
                trading.list_signals,
                trading.list_positions,
                closing.close_position,
            ),
            _tagged("performance", performance.time_series),
            _tagged("trading states", trading_states.list_trading_states, trading_states.set_trading_state),
            _tagged("fleet", fleet.list_replicas, fleet.list_modes),
            _tagged(
                "monitoring",
                monitoring.skip_metrics,
                monitoring.get_processing_delay,
                monitoring.list_outcomes,
                monitoring.list_bars,
                monitoring.list_alerts,
            ),
        ],
        guards=[only_known_parameters],
        security=[{_SECURITY: []}],
        dependencies={
            "settings": Provide(lambda: settings, sync_to_thread=False),
            "engine": Provide(lambda: engine, sync_to_thread=False),
            "broker": Provide(lambda: broker, sync_to_thread=False),
        },
    )


def _tagged(tag: str, *routes: HTTPRouteHandler) -> Router:
    return Router("/", route_handlers=routes, tags=[tag])


def _description() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Flotilla model service",
        version=version("flotilla-api"),
        description="Versions, training, signals and positions of the fleet.",
        path="/schema",
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        components=Components(
            security_schemes={
                _SECURITY: SecurityScheme(type="apiKey", name=auth.HEADER, security_scheme_in="header")
            }
        ),
        use_handler_docstrings=True,
    )
