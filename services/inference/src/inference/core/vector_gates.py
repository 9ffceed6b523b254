"""What can be said of a vector before anything is read: is it fresh, newest, finite, alive and priced?

A gate answers with a `Check`. Comparisons say what must hold, so that NaN denies; the first denial wins.
"""

import math
from collections.abc import Callable

from inference.core.case import Screening
from inference.core.check import Check, passes_if, plain, seconds
from inference.core.reasons import Reason
from inference.core.snapshot import feature_of


def age(screening: Screening) -> Check:
    """The vector is at most MARKET_DATA_MAX_AGE_SECONDS old by its own timestamp, never by its receipt."""
    age_s = seconds(screening.now - screening.vector.timestamp)
    fresh = age_s <= screening.limits.market_data_max_age_s
    return passes_if(fresh, Reason.VECTOR_STALE, age_s=age_s, limit_s=screening.limits.market_data_max_age_s)


def future(screening: Screening) -> Check:
    """The vector is stamped at most a clock's error ahead of now."""
    ahead_s = seconds(screening.vector.timestamp - screening.now)
    fits = ahead_s <= screening.limits.future_tolerance_s
    return passes_if(
        fits, Reason.VECTOR_FROM_FUTURE, ahead_s=ahead_s, limit_s=screening.limits.future_tolerance_s
    )


def monotone(screening: Screening) -> Check:
    """No newer vector of the symbol has been seen."""
    behind_s = seconds(screening.stream.newest - screening.vector.timestamp)
    return passes_if(behind_s <= 0, Reason.VECTOR_SUPERSEDED, behind_s=behind_s)


def finite(screening: Screening) -> Check:
    """Every feature is a finite number."""
    wrong = sorted(n for n, value in screening.vector.features.items() if not math.isfinite(value))
    return passes_if(not wrong, Reason.NOT_FINITE, features=wrong[:10])


def frozen(screening: Screening) -> Check:
    """The market's part of the features changed recently; a worker that saw no change yet waits for one."""
    changed_at = screening.stream.changed_at
    if changed_at is None:
        return Check(Reason.MARKET_FROZEN, {"unchanged_s": None})
    unchanged_s = seconds(screening.vector.timestamp - changed_at)
    alive = unchanged_s <= screening.limits.market_data_max_age_s
    return passes_if(alive, Reason.MARKET_FROZEN, unchanged_s=unchanged_s)


def price(screening: Screening) -> Check:
    """There is a positive price, and depth behind it where the registry has depth.

    A vector without a price is taken at one known from elsewhere that is no older than a vector may be.
    """
    names = screening.snapshot_features
    own, depth = feature_of(screening.vector, names.price), feature_of(screening.vector, names.depth)
    has_depth = depth is None or depth > 0
    if own is not None or screening.known_price is None:
        priced = own is not None and own > 0
        return passes_if(priced and has_depth, Reason.NO_PRICE, price=own, depth=depth)
    known = screening.known_price
    age_s = seconds(screening.now - known.at)
    recent = -screening.limits.future_tolerance_s <= age_s <= screening.limits.market_data_max_age_s
    return passes_if(
        known.price > 0 and recent and has_depth,
        Reason.NO_PRICE,
        price=None,
        depth=depth,
        known_price=plain(known.price),
        known_age_s=age_s,
    )


VECTOR_GATES: tuple[Callable[[Screening], Check], ...] = (age, future, monotone, finite, frozen, price)
