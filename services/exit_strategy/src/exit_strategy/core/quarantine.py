"""Quarantine: a price far off the recent ones moves nothing until something else confirms it.

One wild tick must not close a position, and a crash must not go unseen: the next price, or one asked of the
Feature Service, that lies on the same side of the gap confirms the jump at once.
"""

from decimal import Decimal
from statistics import median

import msgspec

from common.core.exits.position import Price

KEPT = 32
"""Recent prices that are compared with."""
ENOUGH = 8
"""With fewer there is nothing to compare with, and every price is believed."""
SMALLEST_DEVIATION = Decimal("0.0005")
"""Of a market that hardly moves, as a share of the price: an ordinary tick out of a calm is no jump."""


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of a symbol that were believed last, oldest first, and the one in quarantine."""

    values: tuple[Decimal, ...] = ()
    suspect: Price | None = None


def admitted(recent: Recent, price: Price, deviations: Decimal) -> tuple[Recent, bool]:
    """What is remembered after `price`, and whether it may be evaluated now.

    False: it is the new suspect. The same price delivered again confirms nothing; a later one, or one of
    another source, that is at least half as far off on the same side does.
    """
    value = price.value
    if value is None or not value.is_finite() or value <= 0:
        return recent, True  # the rules say what is wrong with it
    if not is_far(recent.values, value, deviations):
        return Recent(values=(*recent.values, value)[-KEPT:]), True
    suspect = recent.suspect
    if suspect is not None and suspect.value is not None and _confirms(recent.values, suspect, price):
        return Recent(values=(suspect.value, value)), True  # the market is elsewhere now
    return msgspec.structs.replace(recent, suspect=price), False


def is_far(values: tuple[Decimal, ...], value: Decimal, deviations: Decimal) -> bool:
    """Whether `value` lies further than `deviations` standard deviations from the middle of `values`."""
    if len(values) < ENOUGH:
        return False
    middle = median(values)
    spread = (sum(((each - middle) ** 2 for each in values), Decimal(0)) / len(values)).sqrt()
    return abs(value - middle) > deviations * max(spread, middle * SMALLEST_DEVIATION)


def _confirms(values: tuple[Decimal, ...], suspect: Price, price: Price) -> bool:
    if suspect.value is None or price.value is None:
        return False
    if price.seen_at <= suspect.seen_at and price.source == suspect.source:
        return False
    middle = median(values)
    jump, again = suspect.value - middle, price.value - middle
    return (jump > 0) == (again > 0) and abs(again) * 2 >= abs(jump)
