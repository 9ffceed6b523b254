"""What a strategy's orders came to: the way of its equity, and how far it ever fell."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import msgspec

NOTHING = Decimal(0)


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What the orders that closed something in one period came to, in quote currency after fees.

    The last three follow the sum of results from order to order, from 0 at the period's begin.
    """

    timestamp: datetime
    """The period's begin."""
    orders: int
    gained: int
    realized_pnl: Decimal
    best: Decimal | None
    worst: Decimal | None
    peak: Decimal
    """The highest that the sum was."""
    trough: Decimal
    """The lowest."""
    drawdown: Decimal
    """Its deepest fall from an earlier height."""


class EquityPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of results at the end of a period."""

    timestamp: datetime
    """The period's begin."""
    equity: Decimal
    """Realized since the begin of the range, quote currency, after fees."""


def equity(courses: Iterable[Course]) -> list[EquityPoint]:
    """The sum of results after each period; a period without any keeps what was."""
    found, total = [], NOTHING
    for course in courses:
        total += course.realized_pnl
        found.append(EquityPoint(timestamp=course.timestamp, equity=total))
    return found


def max_drawdown(courses: Iterable[Course]) -> Decimal:
    """The deepest fall of the equity from an earlier height, order by order, the oldest period first.

    The equity begins at 0: a first loss is a fall.
    """
    deepest = height = level = NOTHING
    for course in courses:
        deepest = max(deepest, course.drawdown, height - (level + course.trough))
        height = max(height, level + course.peak)
        level += course.realized_pnl
    return deepest
