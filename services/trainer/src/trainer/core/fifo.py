"""FIFO: which entry does a fill close, and what did that gain?

The book of one strategy and symbol is a row of lots, the oldest first, all long or all short. Lots keep
values instead of prices, and a part of a lot takes its share while the rest keeps the remainder: however
often lots are divided, nothing of what was paid or received is lost to rounding.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext

import msgspec

ZERO = Decimal(0)
DIGITS = 60
"""Of every calculation: a product of two columns of 20 digits, and its quotient, fit."""

_QUANTUM = Decimal("1e-12")


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """Something bought or sold, or a part of it; as a lot: the part that is still open."""

    quantity: Decimal
    """Base currency, + bought, - sold."""
    value: Decimal
    """Quote currency that was paid or received for it, before fees; never negative."""
    fees: Decimal
    """Quote currency."""


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A lot, or the part of one, that a fill closed."""

    entry: Fill
    exit: Fill
    """As long as the entry, of the other sign."""

    @property
    def fees(self) -> Decimal:
        """Quote currency, of both sides."""
        return self.entry.fees + self.exit.fees

    @property
    def gain(self) -> Decimal:
        """Quote currency, after the fees of both sides."""
        earned = self.exit.value - self.entry.value
        return (earned if self.entry.quantity > 0 else -earned) - self.fees


class Booking(msgspec.Struct, frozen=True, kw_only=True):
    """What a fill did to the book."""

    lots: tuple[Fill, ...]
    """Open afterwards, the oldest first."""
    closed: tuple[Closed, ...]
    opened: Fill | None
    """The lot that the fill opened; None: it only closed."""
    unmatched: Decimal
    """Base currency of a reducing fill that found no lot: it closed what others had opened."""

    @property
    def realized_pnl(self) -> Decimal | None:
        """Quote currency, after the fees of both sides; None where nothing was closed."""
        return sum((part.gain for part in self.closed), ZERO) if self.closed else None


def booked(lots: Sequence[Fill], fill: Fill, *, may_open: bool = True) -> Booking:
    """The book after `fill`: it closes the oldest opposite lots first, then opens one with what is left.

    With `may_open` False (a reducing order) nothing is opened; what finds no lot is `unmatched`.
    """
    waiting, closed, left = list(lots), [], fill
    with localcontext(prec=DIGITS):
        while waiting and waiting[0].quantity * left.quantity < 0:
            size = min(abs(waiting[0].quantity), abs(left.quantity))
            entry, rest = _divided(waiting.pop(0), size)
            exit_, left = _divided(left, size)
            closed.append(Closed(entry=entry, exit=exit_))
            if rest.quantity:
                waiting.insert(0, rest)
        opened = left if left.quantity and may_open else None
        return Booking(
            lots=(*waiting, opened) if opened else tuple(waiting),
            closed=tuple(closed),
            opened=opened,
            unmatched=ZERO if may_open else abs(left.quantity),
        )


def held(lots: Iterable[Fill]) -> Decimal:
    """The position that the lots are, signed, in base currency."""
    return sum((lot.quantity for lot in lots), ZERO)


def _divided(fill: Fill, size: Decimal) -> tuple[Fill, Fill]:
    # The first part is `size` long whatever the sign; the second has what is left, to the last digit.
    whole = abs(fill.quantity)
    part = Fill(
        quantity=size.copy_sign(fill.quantity),
        value=_share(fill.value, size, whole),
        fees=_share(fill.fees, size, whole),
    )
    rest = Fill(
        quantity=fill.quantity - part.quantity, value=fill.value - part.value, fees=fill.fees - part.fees
    )
    return part, rest


def _share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    return amount if part == whole else (amount * part / whole).quantize(_QUANTUM)
