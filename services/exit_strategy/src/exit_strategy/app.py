"""The exit strategy service, composed."""

from faststream.asgi.types import ASGIApp

from common import bus
from common.database import create_engine
from common.service import Service, create_asgi
from exit_strategy.settings import Settings


def create_app(settings: Settings) -> ASGIApp:
    """A process that is connected and says what it lacks."""
    return create_asgi(
        Service(
            name="exit_strategy",
            engine=create_engine(settings, application="exit_strategy"),
            broker=bus.create_broker(settings, service="exit_strategy"),
            lacks=["exit rules: no position is watched and none is closed"],
        )
    )
