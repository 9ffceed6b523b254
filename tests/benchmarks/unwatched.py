"""`python -m tests.benchmarks.unwatched`: an inference worker whose metrics and trace ids cost nothing.

The shipped worker has no switch for either, since nobody should run it blind; goal 5 asks what they cost.
"""

import runpy
from collections.abc import Iterator
from contextlib import contextmanager

import prometheus_client

from common import tracing

TRACE_ID = "0" * 32


@contextmanager
def unbound(trace_id: str, **keys: str) -> Iterator[None]:
    """Instead of tracing.bound."""
    yield


def main() -> None:
    """The inference service, blind."""
    for metric in (prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram):
        for name in {"inc", "dec", "set", "observe", "set_to_current_time"} & set(dir(metric)):
            setattr(metric, name, lambda *_args, **_labels: None)
        metric.labels = lambda self, *_args, **_labels: self  # type: ignore[method-assign]
    tracing.bound = unbound
    tracing.current = lambda: TRACE_ID
    tracing.accepted = lambda candidate: TRACE_ID
    runpy.run_module("inference", run_name="__main__")


if __name__ == "__main__":
    main()
