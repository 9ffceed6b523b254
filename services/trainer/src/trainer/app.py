"""The trainer service, composed."""

from faststream.asgi.types import ASGIApp

from common import bus
from common.database import create_engine
from common.service import Service, create_asgi
from trainer.settings import Settings


def create_app(settings: Settings) -> ASGIApp:
    """A process that is connected and says what it lacks."""
    return create_asgi(
        Service(
            name="trainer",
            engine=create_engine(settings, application="trainer"),
            broker=bus.create_broker(settings, service="trainer"),
            lacks=["training: no dataset is requested and no version is built"],
        )
    )
