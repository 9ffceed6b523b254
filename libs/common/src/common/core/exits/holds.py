"""Why a position is not being closed at this moment, in words for operators."""

from common.core.named import Named


class Hold(Named):
    """Reasons to leave a position as it is."""

    NO_RULE_FIRES = "no_rule_fires", "Every rule was evaluated and none fires."
    BAD_PRICE = (
        "bad_price",
        "The price is missing, not a number, infinite or not above 0: no price rule fires.",
    )
    STALE_PRICE = "stale_price", "The price is older than MARKET_DATA_MAX_AGE_SECONDS: no price rule fires."
    FUTURE_PRICE = "future_price", "The price is stamped in the future: no price rule fires."
    OLDER_PRICE = (
        "older_price",
        "The price is from before the position, or a newer one was evaluated already: it is ignored.",
    )
    DEBOUNCED = (
        "debounced",
        "A target or the age fires: the newest price at the end of EXIT_DEBOUNCE_MS decides.",
    )
    LATCHED = "latched", "A rule that weighs as much fired before and is not finished with."
    NOT_LATCHED = "not_latched", "No rule has fired."
    EXITS_HALTED = "exits_halted", "An operator halted exits by name: the trading state of scope `exits`."
    EXIT_IN_FLIGHT = "exit_in_flight", "An exit of the symbol is not answered yet."
    EXIT_REFUSED = "exit_refused", "The exit was rejected or cancelled; it is issued again in time."
    EXITS_REFUSED_REPEATEDLY = (
        "exits_refused_repeatedly",
        "Three exits in a row came to nothing: from now on one is tried every EXIT_COOLDOWN_SECONDS.",
    )
    COOLING_DOWN = (
        "cooling_down",
        "A target or the age follows another exit of the position by less than EXIT_COOLDOWN_SECONDS.",
    )
    RATE_LIMITED = (
        "rate_limited",
        "The symbol has had EXIT_STRATEGY_RATE_LIMIT exits in EXIT_RATE_LIMIT_WINDOW_SECONDS; stops go on.",
    )
    NOTHING_BOOKED = (
        "nothing_booked",
        "All that our fills bought is sold again, though the position still shows a size.",
    )
    FILL_NOT_SHOWN = "fill_not_shown", "The exit is filled and the position does not show it yet."
    POSITION_VIEW_LATE = (
        "position_view_late",
        "The exit was filled EXIT_REISSUE_SECONDS ago or more and the position still does not show it.",
    )
    ENTRY_JUST_SENT = "entry_just_sent", "A signal of the symbol is on its way: two at once run side by side."
    DUST = "dust", "What is left is worth less than the smallest amount a signal can carry."
