"""An inference worker that is killed at one step of its publish: `python dying_inference.py STEP`."""

import os
import signal
import sys

from common import bus, service, signal_outbox
from inference import emission
from inference.app import create_app
from inference.settings import Settings


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_at(step: str) -> None:
    publish = bus.publish
    match step:
        case "deciding":
            emission.enter = die  # type: ignore[assignment]
        case "claimed":
            bus.publish = die  # type: ignore[assignment]
        case "published":

            async def publish_and_die(*args: object, **options: object) -> None:
                await publish(*args, **options)  # type: ignore[arg-type]
                die()

            bus.publish = publish_and_die
        case "settling":
            signal_outbox.append_signal = die  # type: ignore[assignment,attr-defined]
        case "recorded":
            record = signal_outbox.SignalOutbox.publish

            async def record_and_die(self: object, claim: object) -> None:
                await record(self, claim)  # type: ignore[arg-type]
                die()

            signal_outbox.SignalOutbox.publish = record_and_die  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    dying_at(sys.argv[1])
    service.run("inference", Settings, create_app, port_variable="INFERENCE_PORT")
