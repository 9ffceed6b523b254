"""What inference logs: docs/events.md is written from it."""

from common.core.named import Named


class Event(Named):
    """Events of the inference worker."""

    SIGNAL_EMITTED = (
        "signal emitted",
        "A strategy decided to trade: side, amount, price and the figures of every gate.",
    )
    DECISION_FAILED = (
        "decision failed",
        "A decision raised an error (`reason`, with its traceback): a defect, or a model that cannot answer.",
    )
    TAKE_PROFIT_TRIGGERED = (
        "take profit triggered",
        "A vector showed a position above its target; inference claimed the exit before the exit worker did.",
    )
    COOLDOWN_NOT_BEGUN = (
        "cooldown not begun",
        "An exit was confirmed and its cooldown could not be stored (`reason`); the rate limit counts it.",
    )
    SIGNAL_SKIPPED = (
        "signal skipped",
        "A strategy does not trade a symbol for a new `reason`; logged once per change, counted always.",
    )
    POSITION_NOT_READ = (
        "position not read",
        "The Position Manager gave no usable answer (`reason`); the skip says position_unknown.",
    )
    STRATEGIES_SHARE_A_SYMBOL = (
        "strategies share a symbol",
        "The Order Manager lets each one's signal cancel the other's resting orders; open orders hold both.",
    )
    BALANCES_REFRESHED = (
        "balances refreshed",
        "A balance was stale and the ws-gateway wrote it anew.",
    )
    BALANCES_NOT_REFRESHED = (
        "balances not refreshed",
        "A balance is stale and the ws-gateway did not write it anew because `reason`; asked again later.",
    )
    REGISTRY_NOT_READ = (
        "registry not read",
        "An activation was announced and the registry did not answer; it is asked again within 10 s.",
    )
    VERSION_LOADED = "version loaded", "A worker that has just started serves the active version."
    VERSION_SWAPPED = "version swapped", "A running worker serves another version from this moment on."
    VERSION_REFUSED = (
        "version refused",
        "The active version cannot be served because `reason`; `serving` goes on; next try in `retry_in_s`.",
    )
    REPLICA_NOT_REMOVED = (
        "replica not removed",
        "A stopping replica could not take back what it reported to serve; its heart-beat runs out instead.",
    )
    CONTRIBUTIONS_KEPT = (
        "contributions kept",
        "The feature contributions of a signal could not be stored; they are tried again.",
    )
    LIVE_QUALITY_KEPT = (
        "live quality kept",
        "Scored predictions of `versions` versions could not be stored; they are added to the next flush.",
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
    OUTCOMES_KEPT = (
        "outcomes kept",
        "Skip counts and latest outcomes could not be stored; the next flush adds them. `lost`: too old.",
    )
    BARS_KEPT = (
        "bars kept",
        "Minute bars could not be stored; they are added to the next flush. `lost`: too old.",
    )
    SIGNALS_DELAYED = (
        "signals delayed",
        "Signals took longer than SIGNAL_PROCESSING_DELAY_ALERT_THRESHOLD_SECONDS; an alert is open.",
    )
    MODE_CHANGED = (
        "mode changed",
        "A strategy went from warm-up to a model or back, by the registry; logged once over the fleet.",
    )
    WARM_UP_TOO_LONG = (
        "warm-up too long",
        "A strategy warmed up for WARMUP_MAX_HOURS: it is REDUCING until an operator releases it.",
    )
    TRADING_TRIPPED = (
        "trading tripped",
        "An automatic trip tightened the trading state of `scope` because `reason`; an operator releases it.",
    )
    ENTRIES_REFUSED_FOR_BALANCE = (
        "entries refused for balance",
        "More entries of the last hour than before met `Insufficient balance` at the Order Manager.",
    )
    OLD_ROWS_DELETED = (
        "old rows deleted",
        "Rows past their time were deleted from `table`.",
    )
    FEATURE_POLL_FAILED = (
        "feature poll failed",
        "The Feature Service gave no vector for a symbol; polled again, ever more rarely. Once an outage.",
    )
    FEATURE_SERVICE_DEAF = (
        "feature service deaf",
        "REST answers nothing (so it is while a dataset is built): one question at a time until it does.",
    )
    FEATURE_SERVICE_ANSWERS = "feature service answers", "The Feature Service answers over REST again."
    POLLED_VECTOR_LOST = (
        "polled vector lost",
        "A vector that came over REST could not be worked on; the next one comes a second later.",
    )
    STREAM_SILENT = (
        "stream silent",
        "No fresh vector of `symbols` by the queue for FEATURE_STREAM_SILENCE_SECONDS: REST takes over.",
    )
    STREAM_BACK = "stream back", "The queue brings vectors of `symbols` again: REST polling of them ended."
    OPTIONAL_FEATURES_LACKED = (
        "optional features lacked",
        "A symbol's vectors lack optional features of a version, other ones than before (`missing`).",
    )
    ASSETS_SELECTED = (
        "assets selected",
        "AUTO_SELECT_ASSETS chose other symbols: which, by what balances, and what nothing priced.",
    )
    ASSETS_FALLBACK = (
        "assets fallback",
        "AUTO_SELECT_ASSETS could choose nothing because `reason`: AUTO_SELECT_FALLBACK_ASSETS are traded.",
    )
    SLOTS_NOT_COUNTED = (
        "slots not counted",
        "Warm-up slots without a vector could not be stored; they are with the next ones.",
    )
