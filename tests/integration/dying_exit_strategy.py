"""An exit worker that is killed or frozen at a step of an exit: `dying_exit_strategy.py [STEP [frozen]]`."""

import os
import signal
import sys
from typing import Any

from common import bus, exits, service, signal_outbox
from common.core.exits import exit_signal
from common.signal_outbox import SignalOutbox
from exit_strategy import positions
from exit_strategy.app import create_app
from exit_strategy.settings import Settings


def ending_at(step: str, how: signal.Signals) -> None:
    decide, publish, send = exit_signal.exit_signal, bus.publish, SignalOutbox.publish

    def end(*_: object, **__: object) -> None:
        os.kill(os.getpid(), how)

    async def end_soon(*_: object, **__: object) -> None:
        end()

    def end_and_decide(*args: Any, **options: Any) -> Any:
        end()
        return decide(*args, **options)

    async def end_and_send(*args: Any) -> Any:
        end()
        return await send(*args)

    async def publish_and_end(*args: Any, **options: Any) -> None:
        await publish(*args, **options)
        end()

    place, name, instead = {
        "applying": (positions, "begin", end_soon),
        "deciding": (exits, "exit_signal", end_and_decide),
        "claimed": (SignalOutbox, "publish", end_and_send),
        "sending": (bus, "publish", end_soon),
        "published": (bus, "publish", publish_and_end),
        "settling": (signal_outbox, "append_signal", end_soon),
        "charging": (exits, "confirmed", end_soon),
    }[step]
    setattr(place, name, instead)


if __name__ == "__main__":
    if sys.argv[1:]:
        ending_at(sys.argv[1], signal.SIGSTOP if sys.argv[2:] == ["frozen"] else signal.SIGKILL)
    service.run("exit_strategy", Settings, create_app, port_variable="EXIT_STRATEGY_PORT")
