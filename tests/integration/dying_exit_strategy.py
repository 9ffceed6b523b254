"""An exit worker that is killed between the commit of its decision and the publish."""

import os
import signal

from common import bus, service
from exit_strategy.app import create_app
from exit_strategy.settings import Settings


async def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    bus.publish = die
    service.run("exit_strategy", Settings, create_app, port_variable="EXIT_STRATEGY_PORT")
