"""Which price of a symbol to believe when several say something, and whether they agree.

A price announced by inference comes first, then the Feature Service's newest vector, then the Position
Manager's `current_price`. None is ever derived from a profit.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from common.core.exits.position import Price

PRICE_SEEN = "price_seen"
FEATURES_LATEST = "features_latest"
POSITION_MANAGER = "position_manager"

PREFERENCE = (PRICE_SEEN, FEATURES_LATEST, POSITION_MANAGER)
"""Sources, the most trusted first."""
SEEN_MAX_AGE = timedelta(seconds=5)
"""An announced price is preferred while it is no older."""
TOLERANCE_PCT = Decimal("0.5")
"""Two sources that differ by more disagree, percent of the chosen price."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The price to evaluate with; `disagrees` is the one furthest from it beyond the tolerance."""

    price: Price
    disagrees: Price | None = None
    difference_pct: Decimal = Decimal(0)
    """Between the two, percent of the chosen price; 0: all agree."""


def choose(offers: Sequence[Price], now: datetime, max_age: timedelta) -> Choice | None:
    """The usable offer of the most trusted source; None: no offer is usable.

    An announced price is usable for SEEN_MAX_AGE, any other for `max_age`.
    """
    usable = sorted((offer for offer in offers if _is_usable(offer, now, max_age)), key=_rank)
    if not usable:
        return None
    price, *others = usable
    furthest = max(others, key=lambda other: difference_pct(price, other), default=price)
    difference = difference_pct(price, furthest)
    if difference <= TOLERANCE_PCT:
        return Choice(price=price)
    return Choice(price=price, disagrees=furthest, difference_pct=difference)


def difference_pct(one: Price, other: Price) -> Decimal:
    """How far `other` is from `one`, percent of `one`; 0 where either has no value."""
    if not one.value or other.value is None:
        return Decimal(0)
    return abs(other.value / one.value - 1) * 100


def _is_usable(offer: Price, now: datetime, max_age: timedelta) -> bool:
    value = offer.value
    if value is None or not value.is_finite() or value <= 0:
        return False
    return now - offer.seen_at <= (SEEN_MAX_AGE if offer.source == PRICE_SEEN else max_age)


def _rank(offer: Price) -> int:
    return PREFERENCE.index(offer.source) if offer.source in PREFERENCE else len(PREFERENCE)
