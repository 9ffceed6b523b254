"""The trace id of what is being done: from the message in, through logs and HTTP, to the message out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import structlog

HEADER = "trace_id"
"""Of messages; on HTTP it travels as X-Trace-ID."""

_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")


def current() -> str:
    """The bound trace id; outside of any, a fresh one."""
    bound = structlog.contextvars.get_contextvars().get(HEADER)
    return bound if isinstance(bound, str) else new()


def new() -> str:
    """A trace id for work that no message started: a sweep, a relay, a start."""
    return uuid4().hex


def accepted(candidate: object) -> str:
    """`candidate` where it is harmless in logs, headers and the platform's columns, else a fresh id."""
    return candidate if isinstance(candidate, str) and _ACCEPTED.fullmatch(candidate) else new()


@contextmanager
def bound(trace_id: str, **keys: str) -> Iterator[None]:
    """Every log line, request and message inside carries `trace_id` (and logs `keys`)."""
    with structlog.contextvars.bound_contextvars(**{HEADER: trace_id}, **keys):
        yield
