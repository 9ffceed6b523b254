"""What Prometheus sees of an exit worker."""

from prometheus_client import Counter, Gauge, Histogram

_MILLISECONDS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)

EXITS = Counter("flotilla_exits", "Exit signals that ended so.", ["rule", "fate"])
TRIGGERS = Counter("flotilla_exit_triggers", "Rules that fired and were latched.", ["rule"])
REISSUES = Counter(
    "flotilla_exit_reissues", "Exit signals that followed an unanswered or refused one.", ["rule"]
)
RATE_LIMITED = Counter(
    "flotilla_exits_rate_limited", "Exits that a limit or a cooldown made wait.", ["reason"]
)
DEBOUNCED = Counter("flotilla_exits_debounced", "Prices of a debounce window that a newer one replaced.")
REFUSED_POSITIONS = Gauge(
    "flotilla_exit_refused_positions", "Positions whose exits were refused several times in a row."
)
VIEWS_LATE = Counter("flotilla_exit_position_views_late", "Filled exits that the position did not show.")
FAILED_UPDATES = Counter("flotilla_exit_failed_updates", "Position updates that could not be used.")
QUARANTINED = Counter("flotilla_exit_prices_quarantined", "Prices that waited for a second one to agree.")
PRICES_USED = Counter(
    "flotilla_exit_prices", "Prices that were evaluated, by where they came from.", ["source"]
)
DIVERGENCES = Counter(
    "flotilla_exit_divergences",
    "Differences found: prices of two sources, sizes of ours and the Position Manager's.",
    ["of"],
)
OPEN_POSITIONS = Gauge("flotilla_exit_open_positions", "Positions that are watched.")
BLIND_POSITIONS = Gauge("flotilla_exit_blind_positions", "Watched positions without a usable price.")
COVERAGE_S = Gauge(
    "flotilla_exit_coverage_seconds", "Age of the newest evaluation of each watched position.", ["symbol"]
)
UNANSWERED_S = Gauge(
    "flotilla_exit_unanswered_seconds", "How long a rule's exit has not been filled; the longest.", ["rule"]
)
EVALUATION_S = Histogram(
    "flotilla_exit_evaluation_seconds",
    "From a price heard to its decision; one that decides something is committed then.",
    buckets=_MILLISECONDS,
)
CONFIRM_S = Histogram(
    "flotilla_exit_confirm_seconds",
    "From a price heard to the broker's confirm of its exit signal.",
    buckets=_MILLISECONDS,
)
DATABASE_DOWN = Gauge("flotilla_exit_database_down", "1 while only stops run, without the database.")
UNWRITTEN_LINES = Gauge(
    "flotilla_exit_spool_unwritten_lines", "Lines of exits that EXIT_SPOOL_PATH could not take."
)
EXITS_BLIND = Counter("flotilla_exits_without_database", "Exits that went out without the database.")
