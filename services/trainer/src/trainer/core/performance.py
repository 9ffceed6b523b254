"""What an execution was worth: the figures beside each row of execution_events.

Decimals are plain text, so that every reader can cast them; nothing closed is null, not 0: an entry is
neither a win nor a loss.
"""

from decimal import Decimal, localcontext
from typing import Any

from trainer.core.execution_rules import price_of
from trainer.core.fifo import DIGITS, ZERO, Booking, Fill, held

_PERCENT_PLACES = Decimal("1e-6")


def performance(order_id: str, fill: Fill, booking: Booking, *, signal_price: Decimal) -> dict[str, Any]:
    """The figures of `fill`, which was booked as `booking` says.

    Quote currency, except quantities (base) and percentages. `realized_pnl` and `return_pct` (of the entry
    value) are after `fees`, those of both sides of what was closed; `slippage_pct` is positive where the
    price was worse than the signal's; `position` is the book afterwards.
    """
    realized, closed = booking.realized_pnl, booking.closed
    with localcontext(prec=DIGITS):
        entry_value = sum((part.entry.value for part in closed), ZERO)
        slippage_pct = (price_of(fill.value, fill.quantity) / signal_price - 1) * 100
        return {
            "order_id": order_id,
            "realized_pnl": None if realized is None else plain(realized),
            "return_pct": _percent(realized / entry_value * 100)
            if realized is not None and entry_value
            else None,
            "fees": plain(sum((part.fees for part in closed), ZERO)),
            "closed_quantity": plain(sum((abs(part.entry.quantity) for part in closed), ZERO)),
            "opened_quantity": plain(abs(booking.opened.quantity) if booking.opened else ZERO),
            "unmatched_quantity": plain(booking.unmatched),
            "entries": [_shown(part.entry) for part in closed],
            "slippage_pct": _percent(slippage_pct if fill.quantity > 0 else -slippage_pct),
            "position": plain(held(booking.lots)),
        }


def plain(number: Decimal) -> str:
    """`number` without exponent, trailing zeros or a sign before 0."""
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _percent(number: Decimal) -> str:
    return plain(number.quantize(_PERCENT_PLACES))


def _shown(entry: Fill) -> dict[str, str]:
    price = price_of(entry.value, entry.quantity)
    return {"quantity": plain(abs(entry.quantity)), "price": plain(price), "fees": plain(entry.fees)}
