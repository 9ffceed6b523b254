"""What inference logs: docs/events.md is written from it."""

from common.core.named import Named


class Event(Named):
    """Events of the inference worker."""

    SIGNAL_EMITTED = (
        "signal emitted",
        "A strategy decided to trade: side, amount, price and the figures of every gate.",
    )
    TAKE_PROFIT_TRIGGERED = (
        "take profit triggered",
        "A vector showed a position above its target; inference claimed the exit before the exit worker did.",
    )
    SIGNAL_SKIPPED = (
        "signal skipped",
        "A strategy does not trade a symbol for a new `reason`; logged once per change, counted always.",
    )
    POSITION_NOT_READ = (
        "position not read",
        "The Position Manager gave no usable answer (`reason`); the skip says position_unknown.",
    )
    REGISTRY_NOT_READ = (
        "registry not read",
        "An activation was announced and the registry did not answer; it is asked again within 10 s.",
    )
    VERSION_LOADED = "version loaded", "A worker that has just started serves the active version."
    VERSION_SWAPPED = "version swapped", "A running worker serves another version from this moment on."
    VERSION_REFUSED = (
        "version refused",
        "The active version cannot be served because `reason`; `serving` goes on. Tried again every 10 s.",
    )
    WARM_UP_MODE = "warm-up mode", "The registry has no active version for a strategy: it warms up."
    MARKET_DATA_AGEING = (
        "market data ageing",
        "Vectors of a symbol have become older than MARKET_DATA_STALE_WARNING_THRESHOLD_SECONDS.",
    )
    INTENT_RESUMED = (
        "intent resumed",
        "A vector came again whose signal was not finished; its stored signal is published now.",
    )
    SKIP_COUNTS_KEPT = (
        "skip counts kept",
        "Skip counts could not be stored; they are added to the next flush.",
    )
    FEATURE_POLL_FAILED = (
        "feature poll failed",
        "The Feature Service gave no vector for a symbol; polled again.",
    )
