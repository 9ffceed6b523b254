"""What Prometheus sees of an exit worker."""

from prometheus_client import Counter, Gauge

EXITS = Counter("flotilla_exits", "Exit signals that ended so.", ["rule", "fate"])
TRIGGERS = Counter("flotilla_exit_triggers", "Rules that fired and were latched.", ["rule"])
VIEWS_LATE = Counter("flotilla_exit_position_views_late", "Filled exits that the position did not show.")
OPEN_POSITIONS = Gauge("flotilla_exit_open_positions", "Positions that are watched.")
BLIND_POSITIONS = Gauge("flotilla_exit_blind_positions", "Watched positions without a usable price.")
COVERAGE_S = Gauge(
    "flotilla_exit_coverage_seconds", "Age of the oldest newest evaluation over all watched positions."
)
