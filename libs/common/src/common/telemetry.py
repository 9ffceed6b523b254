"""Logs that an operator can read and a machine can count: one JSON object a line, fixed event names."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from common.core.named import Named

MAX_VALUE_CHARACTERS = 2_000
"""A longer text in a log line is cut: a hostile message must not fill the disk."""

_CREDENTIALS = re.compile(r"(?P<scheme>[a-z+]+://[^:/@\s]+):[^@\s]+@")


class Event(Named):
    """Events of common, shared by all services."""

    SERVICE_STARTED = (
        "service started",
        "The process runs and answers health checks; it may still wait for others.",
    )
    SECRET_IS_WEAK = (
        "secret is weak",
        "The secret of `variable` is accepted and should be replaced, because `reason`.",
    )
    SERVICE_READY = "service ready", "The broker answered; messages are being consumed."
    SERVICE_STOPPED = "service stopped", "The process finished what it had begun and ends."
    LOOP_HANGS = (
        "event loop hangs",
        "Nothing turned for `silent_s` seconds, in `where`: the process ends (70), to be started again.",
    )
    DEPENDENCY_UNAVAILABLE = (
        "dependency unavailable",
        "Broker or database did not answer at start; `dependency` names it, it is tried again for ever.",
    )
    MESSAGE_DEAD_LETTERED = (
        "message dead-lettered",
        "A message could not be used; it lies in flotilla.dead_letters with `reason`.",
    )
    MESSAGE_RETRIED = (
        "message retried",
        "Handling a message failed; it is tried again in place after `delay_s` (attempt `attempt`).",
    )
    MESSAGE_REQUEUED = (
        "message requeued",
        "A message went back to its queue because `reason`; it will come again.",
    )
    ANNOUNCEMENT_LOST = (
        "announcement lost",
        "A hint to the rest of the fleet could not be sent; whoever needs it polls the database.",
    )
    SIGNAL_PUBLISHED = (
        "signal published",
        "The broker confirmed the signal; the Order Manager's queue holds it.",
    )
    SIGNAL_NOT_PUBLISHED = (
        "signal not published",
        "The broker did not take a signal because `reason`; it is tried again while the signal is valid.",
    )
    SIGNAL_EXPIRED = (
        "signal expired",
        "A signal was not published in time and never will be; `reason` says what held it up.",
    )
    SIGNAL_LEFT_TO_RELAY = (
        "signal left to the relay",
        "How a signal ended is not known or could not be stored (`reason`); the relay finishes it.",
    )
    POSITIONS_NOT_LISTED = (
        "positions not listed",
        "The Position Manager did not list its positions; remembered ones are believed until their TTL.",
    )
    BACKGROUND_TASK_FAILED = (
        "background task failed",
        "A periodic task raised; it goes on with its next round. `task` names it.",
    )


def configure_logging(service: str, level: str, stream: TextIO | None = None) -> None:
    """From now on structlog and the standard library write one JSON object a line to `stream` (stdout)."""
    shared = (
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service),
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=list(shared),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _shortened,
                _rendered,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for chatty in ("aio_pika", "aiormq"):  # every lost connection is an event of our own already
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    logging.getLogger(service).setLevel(level)
    logging.getLogger("common").setLevel(level)


def without_credentials(text: str) -> str:
    """`text` with the password of every URL in it hidden."""
    return _CREDENTIALS.sub(r"\g<scheme>:***@", text)


def _named(service: str) -> structlog.types.Processor:
    def add_service(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    return add_service


def _shortened(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS:
            # The end of a traceback names the error; the end of anything else is more of the same.
            half = MAX_VALUE_CHARACTERS // 2
            cut = f"{value[:half]} … {value[-half:]}" if key == "exception" else value[:MAX_VALUE_CHARACTERS]
            event[key] = cut
    return event


_json = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)


def _rendered(logger: object, name: str, event: MutableMapping[str, Any]) -> str:
    # Masked as a line, so that nothing nested escapes.
    return without_credentials(str(_json(logger, name, event)))
