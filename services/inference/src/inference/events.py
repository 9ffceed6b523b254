"""What inference logs: docs/events.md is written from it."""

from common.core.named import Named


class Event(Named):
    """Events of the inference worker."""

    SIGNAL_EMITTED = (
        "signal emitted",
        "A strategy decided to trade: side, amount, price and the figures of every gate.",
    )
    SIGNAL_SKIPPED = (
        "signal skipped",
        "A strategy does not trade a symbol for a new `reason`; logged once per change, counted always.",
    )
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
