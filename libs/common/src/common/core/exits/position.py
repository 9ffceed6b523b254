"""The life of a position: when it begins, what it remembers, when it ends.

A lifecycle is (symbol, side, opened). It begins when the size leaves 0 or changes sign and ends when the size
is 0 again; peak, stage, latch, generation and holding clock belong to it and never outlive it.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal
from uuid import UUID

import msgspec

UNATTRIBUTED = "unattributed"
"""Strategy of a lifecycle that no filled entry of ours opened."""
ALL = Decimal(100)
"""A whole position, in percent of its live size."""
PERCENT = Decimal("0.01")
ONE = Decimal(1)
"""To convert a number takes longer than to subtract it."""


class Side(StrEnum):
    """Which way a position earns."""

    LONG = "long"
    SHORT = "short"

    @classmethod
    def of(cls, size: Decimal) -> "Side":
        """The side of a signed, non-zero size."""
        return cls.SHORT if size.is_signed() else cls.LONG

    @property
    def closes_with(self) -> Literal["buy", "sell"]:
        """The signal that reduces it."""
        return "sell" if self is Side.LONG else "buy"

    def moved(self, price: Decimal, pct: Decimal) -> Decimal:
        """`price` moved by `pct` percent to the position's good; negative: to its harm."""
        return price * (ALL + pct if self is LONG else ALL - pct) * PERCENT

    def shifted(self, price: Decimal, distance: Decimal) -> Decimal:
        """`price` moved by `distance` in quote currency to the position's good."""
        return price + distance if self is LONG else price - distance

    def is_better(self, price: Decimal, level: Decimal) -> bool:
        """Whether the position earns more at `price` than at `level`."""
        return price > level if self is LONG else price < level

    def best(self, one: Decimal, other: Decimal) -> Decimal:
        """The price at which the position earns more."""
        return other if self.is_better(other, one) else one


LONG = Side.LONG
"""For the rules: to look a member up in its enum takes longer than all that is done with it."""


class Price(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A price of a symbol, or the news that there is none (`value` None)."""

    value: Decimal | None
    """Quote currency."""
    seen_at: datetime
    source: str


class View(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A position as the platform shows it at an instant."""

    symbol: str
    size: Decimal
    """Signed base currency; 0: there is none."""
    entry_price: Decimal | None
    """Quote currency; None: not known, the one we have stands."""
    seen_at: datetime


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one rule says about one position at one price."""

    rule: str
    """Its name."""
    fires: bool
    """It would close the position, or a part."""
    level: Decimal | None = None
    """Price at which the rule fires, quote currency."""
    pnl_pct: Decimal | None = None
    held_s: float | None = None
    close_pct: Decimal = ALL
    """Share of the live size that the rule closes."""
    stage: int | None = None
    """The ladder stage that it reaches."""
    fault: str | None = None
    """Why the rule could not be evaluated."""


class Tracked(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One lifecycle as it is stored. Prices in quote currency, `size` signed base currency."""

    lifecycle_id: UUID
    symbol: str
    side: Side
    opened_at: datetime
    strategy_id: str
    entry_price: Decimal
    size: Decimal
    peak_price: Decimal
    """Best price since the position was opened: the highest for a long, the lowest for a short."""
    armed: bool = False
    """The trailing stop follows, for the rest of this life."""
    stage: int = 0
    """Ladder stages of the take profit that were taken."""
    generation: int = 0
    """Exit signals that were issued."""
    latched_rule: str | None = None
    """The rule that fired and is not finished with."""
    latched_at: datetime | None = None
    exit_signal_id: UUID | None = None
    """The newest exit signal that is not finished with."""
    newest_event_at: datetime
    """Of the newest view that was applied."""
    last_price: Decimal | None = None
    last_evaluated_at: datetime | None = None
    """Of the newest price that the rules were evaluated with."""
    price_source: str | None = None
    best_pnl_pct: Decimal | None = None
    stop_price: Decimal | None = None
    """The tightest stop of this life, whichever rule set it; no setting loosens it."""
    rules_version: str | None = None
    """Of the rule set that was evaluated last."""
    verdicts: tuple[Verdict, ...] | None = None
    """What every rule said of the newest price."""
    refusals: int = 0
    """Exits in a row that came to nothing."""
    last_exit_at: datetime | None = None
    """When the broker confirmed the newest exit."""
    close_requested_at: datetime | None = None
    """When an operator asked for the close; with it who and why."""
    close_actor: str | None = None
    close_reason: str | None = None

    def pnl_pct(self, price: Decimal) -> Decimal:
        """Gross, unlevered profit in percent of the entry."""
        ratio = price / self.entry_price
        return (ratio - ONE if self.side is LONG else ONE - ratio) * ALL


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What a new lifecycle needs from outside the core."""

    lifecycle_id: UUID
    strategy_id: str
    opened_at: datetime


def is_outdated(tracked: Tracked, view: View) -> bool:
    """Whether something newer than `view` was applied already."""
    return view.seen_at < tracked.newest_event_at


def continues(tracked: Tracked, view: View) -> bool:
    """Whether `view` shows the same lifecycle: the same side, not closed."""
    return bool(view.size) and Side.of(view.size) is tracked.side


def opened(view: View, entry_price: Decimal, opening: Opening) -> Tracked:
    """A lifecycle that begins with `view`."""
    return Tracked(
        lifecycle_id=opening.lifecycle_id,
        symbol=view.symbol,
        side=Side.of(view.size),
        opened_at=opening.opened_at,
        strategy_id=opening.strategy_id,
        entry_price=entry_price,
        size=view.size,
        peak_price=entry_price,
        newest_event_at=view.seen_at,
    )


def resized(tracked: Tracked, view: View) -> Tracked:
    """The lifecycle with the size and entry of `view`; an older view changes nothing.

    The peak stays only while it is on the right side of the entry; the tightest stop goes along with an entry
    that was averaged to the position's harm, or the new size would be stopped at once.
    """
    if is_outdated(tracked, view):
        return tracked
    entry = view.entry_price or tracked.entry_price
    return msgspec.structs.replace(
        tracked,
        size=view.size,
        stop_price=_moved_stop(tracked, entry),
        entry_price=entry,
        peak_price=tracked.side.best(tracked.peak_price, entry),
        newest_event_at=view.seen_at,
    )


def with_seen(stored: Tracked, seen: Tracked | None) -> Tracked:
    """`stored` with what was seen of the same life and is not stored yet: its best price and its newest.

    All else is as it is stored: others change it, too.
    """
    if seen is None or seen.lifecycle_id != stored.lifecycle_id:
        return stored
    pnl_pcts = [each.best_pnl_pct for each in (stored, seen) if each.best_pnl_pct is not None]
    merged = msgspec.structs.replace(
        stored,
        peak_price=stored.side.best(stored.peak_price, seen.peak_price),
        best_pnl_pct=max(pnl_pcts, default=None),
        armed=stored.armed or seen.armed,
    )
    if not _is_after(seen.last_evaluated_at, stored.last_evaluated_at):
        return merged
    return msgspec.structs.replace(
        merged,
        last_price=seen.last_price,
        last_evaluated_at=seen.last_evaluated_at,
        price_source=seen.price_source,
    )


def _is_after(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and (other is None or one > other)


def _moved_stop(tracked: Tracked, entry_price: Decimal) -> Decimal | None:
    if tracked.stop_price is None or entry_price == tracked.entry_price:
        return tracked.stop_price
    moved = tracked.stop_price * entry_price / tracked.entry_price
    return tracked.stop_price if tracked.side.is_better(moved, tracked.stop_price) else moved
