"""The answer of a gate, and how its figures are written."""

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from inference.core.reasons import Facts, Reason


class Check(msgspec.Struct, frozen=True):
    """The answer of one gate: `denied` is None when it passes."""

    denied: Reason | None
    facts: Facts
    amount_quote: Decimal | None = None
    """The amount that passes, where the gate changed it."""


def passes_if(passes: bool, reason: Reason, /, **facts: object) -> Check:
    """The check that denies with `reason` unless `passes`, and shows `facts` either way."""
    return Check(None if passes else reason, facts)


def seconds(span: timedelta) -> float:
    """A span as figures show it."""
    return round(span.total_seconds(), 6)


def plain(value: Decimal) -> str:
    """A Decimal as figures show it: exact, without an exponent."""
    return format(value, "f")


def instant(value: datetime | None) -> str | None:
    """A moment as figures show it."""
    return value.isoformat() if value else None
