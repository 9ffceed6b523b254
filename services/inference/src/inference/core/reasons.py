"""Why there was no signal: one name for each answer, and what it tells an operator."""

from collections.abc import Mapping

import msgspec

from common.core.named import Named

Facts = Mapping[str, object]


class Reason(Named):
    """The reason of a skip, in the order of the gates that give it."""

    TRADING_HALTED = "trading_halted", "Trading state HALTED: nothing is sent."
    TRADING_REDUCING = (
        "trading_reducing",
        "Trading state REDUCING: only signals that reduce a position are sent.",
    )
    WARMUP_DISABLED = "warmup_disabled", "The strategy has no model and WARMUP_MODE_ENABLED is off."
    NOT_SELECTED = (
        "not_selected",
        "AUTO_SELECT_ASSETS: balances do not allow the symbol, or no choice has been made yet.",
    )
    TAKE_PROFIT_DUE = (
        "take_profit_due",
        "The position is above its target and is being closed, or should be: nothing is added to it.",
    )
    TAKE_PROFIT_TRIGGERED = (
        "take_profit_triggered",
        "The vector showed the position above its target: its exit was sent instead of an entry.",
    )
    VECTOR_STALE = (
        "vector_stale",
        "The vector is older than MARKET_DATA_MAX_AGE_SECONDS by its own timestamp.",
    )
    VECTOR_FROM_FUTURE = "vector_from_future", "The vector is stamped later than now: a clock is wrong."
    VECTOR_SUPERSEDED = "vector_superseded", "A newer vector of the symbol has already been seen."
    NOT_FINITE = "not_finite", "A feature is NaN or infinite."
    MARKET_FROZEN = (
        "market_frozen",
        "Nothing but the clock moved in the features for too long, or since this worker started.",
    )
    NO_VECTOR = (
        "no_vector",
        "A warm-up time slot passed without any vector of the strategy's symbols, in the whole fleet.",
    )
    NO_PRICE = (
        "no_price",
        "The vector carries no positive price or no depth; none is known from elsewhere, none is invented.",
    )
    NO_DIRECTION = "no_direction", "The vector carries no returns, or they point nowhere: no side is made up."
    MODEL_UNAVAILABLE = (
        "model_unavailable",
        "The registry was not read yet, or its version cannot be loaded and no older one serves.",
    )
    MODEL_OF_ANOTHER_SYMBOL = "model_of_another_symbol", "The strategy's model was trained on another symbol."
    REGISTRY_MISMATCH = (
        "registry_mismatch",
        "The vector's feature registry version is not the one that the model was trained on.",
    )
    FEATURES_MISSING = "features_missing", "The vector lacks features that the model needs; they are named."
    HOLD = "hold", "No side is probable enough, or leads the other by enough: the model's answer is to wait."
    HOLD_COSTS = (
        "hold_costs",
        "The move that the model expects does not exceed what entry and exit cost: fees, slippage, spread.",
    )
    CLASS_RETURNS_UNKNOWN = (
        "class_returns_unknown",
        "SIGNAL_COST_AWARE asks for the move a class stands for, and the version's manifest does not say it.",
    )
    WARMUP_SLOT_TAKEN = (
        "warmup_slot_taken",
        "The fleet has already used this time slot of WARMUP_SIGNAL_FREQUENCY.",
    )
    VECTOR_ALREADY_DECIDED = (
        "vector_already_decided",
        "A signal for this vector exists: one vector, one decision.",
    )
    NEWER_SIGNAL_EXISTS = (
        "newer_signal_exists",
        "A signal for a newer vector of the strategy and symbol exists.",
    )
    OPEN_ORDER = "open_order", "An order of the symbol is pending or partially filled."
    EXIT_IN_FLIGHT = (
        "exit_in_flight",
        "A position of the symbol is being closed: an entry would cancel the exit's order.",
    )
    SIGNAL_IN_FLIGHT = (
        "signal_in_flight",
        "The symbol's previous signal has not left `pending` in orders yet.",
    )
    POSITION_UNKNOWN = (
        "position_unknown",
        "The Position Manager gave no usable answer, or has not booked the newest fill: no blind entries.",
    )
    WOULD_OPEN_SHORT = "would_open_short", "There is nothing to sell: a sell without a long opens a short."
    BALANCE_UNKNOWN = "balance_unknown", "No balance of the quote currency is stored."
    BALANCE_STALE = "balance_stale", "The newest balance is older than BALANCE_DATA_MAX_AGE_SECONDS."
    BALANCE_TOO_SMALL = (
        "balance_too_small",
        "What is free after margin, reservations and fees is below the minimum.",
    )
    POSITION_LIMIT = (
        "position_limit",
        "MODEL_SERVICE_MAX_POSITION_SIZE_RATIO leaves less room for the symbol than the minimum order.",
    )
    HOURLY_NOTIONAL_USED = "hourly_notional_used", "MAX_NOTIONAL_PER_HOUR leaves less than the minimum order."
    BELOW_MINIMUM_ORDER = (
        "below_minimum_order",
        "The amount is below the instrument's minimum; the Order Manager would raise it on its own.",
    )
    RATE_LIMITED = "rate_limited", "SIGNAL_GENERATION_RATE_LIMIT and its burst are used up over the fleet."
    EXPIRED = "expired", "The signal's validity ended before it could be published."
    DATABASE_UNAVAILABLE = (
        "database_unavailable",
        "State, orders or balances could not be read: entries stop.",
    )
    DECISION_FAILED = (
        "decision_failed",
        "The decision itself raised an error (a defect, or a model that cannot answer).",
    )


class Skip(msgspec.Struct, frozen=True):
    """No signal, why, and the figures that decided it."""

    reason: Reason
    facts: Facts
