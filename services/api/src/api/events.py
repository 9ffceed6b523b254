"""What the API logs: docs/events.md is written from it."""

from common.core.named import Named


class Event(Named):
    """Events of the API."""

    VERSION_ACTIVATED = (
        "version activated",
        "Somebody put a version to work for a strategy; `epoch`, `reason` and whether it was `forced`.",
    )
    ARTIFACT_UNUSABLE = (
        "artifact unusable",
        "A version was not activated: its files are missing, or not those that were registered (`reason`).",
    )
    TRADING_STATE_SET = (
        "trading state set",
        "An operator halted, reduced or released `scope`: `actor` and `reason`, as kept in its history.",
    )
    CLOSE_REQUESTED = (
        "close requested",
        "An operator wants a position closed now: `actor` and `reason`; an exit worker closes it.",
    )
    TRAINING_REQUESTED = (
        "training requested",
        "Somebody asked for a new model of a strategy and symbol; a trainer takes up `run_id`.",
    )
    TRAINING_CANCELLED = (
        "training cancelled",
        "Somebody called a training off: `actor` and `reason`; its trainer stops the fit within seconds.",
    )
    DATASET_REQUESTED = (
        "dataset requested",
        "Somebody asked for a dataset alone of a strategy and symbol; a trainer has it built, as `run_id`.",
    )
    LETTER_COLLECTED = (
        "dead letter collected",
        "A message that could not be used was taken over from the broker; an operator settles `letter_id`.",
    )
    LETTER_REPLAYED = (
        "dead letter replayed",
        "An operator sent a dead letter's message to its `queue` once more: `actor` and `reason`.",
    )
    LETTER_DISCARDED = (
        "dead letter discarded",
        "An operator put a dead letter away: `actor` and `reason`; its message is never used.",
    )
    KEY_REFUSED = (
        "key refused",
        "A request came without the right X-API-Key; `client` is the address that it came from.",
    )
    REQUEST_FAILED = (
        "request failed",
        "A request ran into an error that nobody foresaw: a bug, with its traceback.",
    )
    DATABASE_UNAVAILABLE = (
        "database unavailable",
        "A request was answered 503 because PostgreSQL did not answer, or not in time.",
    )
    REQUEST_ANSWERED = (
        "request answered",
        "One line a request: `method`, `route`, `status`, `duration_ms` and `client`, under its trace id.",
    )
    COMMAND_REFUSED = (
        "command refused",
        "A request with the read-only key would have changed something; it was answered 403.",
    )
    LISTENER_DROPPED = (
        "listener dropped",
        "A client read the event stream too slowly and was disconnected; it may come again.",
    )
    EVENTS_NOT_READ = (
        "events not read",
        "The database did not say what is new; streams stay open and are told later what they missed.",
    )
