"""What the API counts of itself. Routes are named by their template, so that labels stay few."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "flotilla_api_requests_total",
    "Requests by method, route and status; route `none`: refused before any, status 499: the client left.",
    ["method", "route", "status"],
)
DURATIONS = Histogram(
    "flotilla_api_request_duration_seconds",
    "From a request's arrival to the end of its answer; of the event stream: how long it was heard.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
LISTENERS = Gauge("flotilla_api_event_listeners", "Clients that hear the event stream now.")
LISTENERS_DROPPED = Counter(
    "flotilla_api_event_listeners_dropped_total", "Clients of the event stream that read too slowly."
)
