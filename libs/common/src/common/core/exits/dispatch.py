"""What a latched position may send now: the next exit signal, nothing yet, or nothing more.

One exit is in flight per symbol. One that is unanswered is issued again after a while with the live size, one
that expired unsent at once; after three in a row that came to nothing one a cooldown is tried. One that was
filled never is: while the position does not show the fill, it is the view that is late. Targets and the age
are paced besides; stops never.
"""

from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from uuid import UUID

import msgspec

from common.core.exits.holds import Hold
from common.core.exits.position import ALL, UNATTRIBUTED, Tracked, View
from common.core.exits.rules import PACED, Rules, closes_pct

OVERSHOOT = Decimal("1.000001")
"""Flooring amount / price to the lot must give the size, not one lot less; it stays below one lot."""
AMOUNT_STEP = Decimal("0.00000001")
PATIENCE = 3
"""Exits in a row that may come to nothing before the pauses grow."""
SMALLEST_AMOUNT = Decimal("0.01")
"""The Order Manager refuses less, quote currency."""


class Answer(StrEnum):
    """What became of an exit signal, as far as `orders` and the outbox show."""

    NONE = "none"
    EXPIRED = "expired"
    """Nothing shows an order, and nobody can be given the signal any more."""
    RESTING = "resting"
    REFUSED = "refused"
    FILLED = "filled"


class Flight(msgspec.Struct, frozen=True, kw_only=True):
    """An exit signal that was issued. Sizes unsigned, base currency."""

    signal_id: UUID
    rule: str
    stage: int
    live_size: Decimal
    """Of the position when the signal was issued."""
    entry_price: Decimal | None = None
    """Of the position then, quote currency; None: not known."""
    size_to_close: Decimal
    """All that its rule still had to close then; the signal may carry a part of it."""
    issued_at: datetime
    answer: Answer = Answer.NONE
    filled_size: Decimal = Decimal(0)
    answered_at: datetime | None = None


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a symbol's signals."""

    newest_exit: Flight | None = None
    newest_entry_at: datetime | None = None
    published_exits: tuple[datetime, ...] = ()
    """When the broker confirmed the exits of the last `Limits.rate_window`, oldest first; stops are not
    counted."""
    booked_size: Decimal | None = None
    """What all our fills since the symbol was last flat bought and have not sold yet, unsigned base currency;
    None: others opened a part of the position, or it is not known."""


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange's steps for a symbol: sizes in base currency, the value in quote currency."""

    lot_size: Decimal = AMOUNT_STEP
    min_order_qty: Decimal = Decimal(0)
    min_order_value: Decimal = Decimal(0)

    def minimum(self, price: Decimal) -> Decimal:
        """The smallest size that the Order Manager does not raise."""
        by_value = _to_step(self.min_order_value / price, self.lot_size, ROUND_CEILING)
        return max(by_value, self.min_order_qty, self.lot_size)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how much."""

    reissue: timedelta
    entry_gap: timedelta
    """Pause after a signal of another kind."""
    max_order_notional: Decimal
    cooldown: timedelta = timedelta(0)
    """Between two paced exits of a position that are not parts of one, and between tries after refusals."""
    rate_limit: int | None = None
    """Paced exits of a symbol in `rate_window`; None: any number."""
    rate_window: timedelta = timedelta(minutes=1)


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """Send this much now. Sizes unsigned, base currency; `price` and `amount_quote` in quote currency."""

    rule: str
    stage: int
    generation: int
    size: Decimal
    size_to_close: Decimal
    price: Decimal
    amount_quote: Decimal
    refusals: int = 0
    """Exits in a row before this one that came to nothing."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Send nothing; `until` is when looking again is worth it, None: when something happens."""

    reason: Hold
    until: datetime | None = None


class Done(msgspec.Struct, frozen=True):
    """The latched rule closed what it had to close: the latch opens."""


def dispatch(
    tracked: Tracked,
    rules: Rules,
    traffic: Traffic,
    *,
    instrument: Instrument,
    limits: Limits,
    now: datetime,
) -> Issue | Wait | Done:
    """What the latched rule of `tracked` sends now."""
    if tracked.latched_rule is None:
        return Wait(reason=Hold.NOT_LATCHED)
    flight, price = traffic.newest_exit, tracked.last_price or tracked.entry_price
    minimum = instrument.minimum(price)
    wait = _for_exit(tracked, flight, limits, now) or _for_refusals(tracked, flight, limits, now)
    if wait is None and _is_taken(tracked, rules, flight, minimum):
        return Done()
    wait = wait or _for_pace(tracked, traffic, limits, now) or _for_entry(traffic, limits, now)
    if wait is not None:
        return wait
    live = _ours(tracked, traffic)
    if not live:
        return Wait(reason=Hold.NOTHING_BOOKED)
    size_to_close = _size_to_close(
        tracked, rules, flight, live=live, minimum=minimum, lot=instrument.lot_size
    )
    size = part_of(size_to_close, price, instrument, limits.max_order_notional)
    amount = min(amount_quote(size, price), limits.max_order_notional)
    if amount < SMALLEST_AMOUNT:
        return Wait(reason=Hold.DUST)
    return Issue(
        rule=tracked.latched_rule,
        stage=tracked.stage,
        generation=tracked.generation + 1,
        size=size,
        size_to_close=size_to_close,
        price=price,
        amount_quote=amount,
        refusals=refusals(tracked, flight),
    )


def refusals(tracked: Tracked, flight: Flight | None) -> int:
    """How many exits of `tracked` in a row came to nothing, `flight`, the newest, included.

    Rejected or cancelled without a fill, or unknown to everybody. One that filled anything ends the row, one
    that was never sent is not in it.
    """
    if flight is None or flight.signal_id != tracked.exit_signal_id:
        return tracked.refusals
    if flight.filled_size or flight.answer is Answer.FILLED:
        return 0
    return tracked.refusals + (flight.answer in (Answer.REFUSED, Answer.NONE))


def was_reopened(tracked: Tracked, view: View, flight: Flight | None) -> bool:
    """Whether `view` shows another position than `tracked`, whose close nobody saw.

    Its own exit closed all of it before the view, and the view is not merely late: a reduction keeps the
    entry and never adds.
    """
    if flight is None or flight.signal_id != tracked.exit_signal_id or flight.answer is not Answer.FILLED:
        return False
    live = abs(tracked.size)
    closed_all = flight.live_size > 0 and flight.filled_size >= max(flight.live_size, live)
    is_later = flight.answered_at is not None and flight.answered_at < view.seen_at
    is_other = view.entry_price not in (None, tracked.entry_price) or abs(view.size) > live
    return bool(view.size) and closed_all and is_later and is_other


def amount_quote(size: Decimal, price: Decimal) -> Decimal:
    """The amount that the Order Manager turns into `size`, quote currency."""
    return (size * price * OVERSHOOT).quantize(AMOUNT_STEP, ROUND_CEILING)


def part_of(size: Decimal, price: Decimal, instrument: Instrument, max_order_notional: Decimal) -> Decimal:
    """`size`, or the part of it that one signal may carry, leaving no rest below the minimum."""
    if amount_quote(size, price) <= max_order_notional:
        return size
    part = _to_step(max_order_notional / (price * OVERSHOOT), instrument.lot_size, ROUND_FLOOR)
    if size - part < instrument.minimum(price):
        part = min(part, _to_step(size / 2, instrument.lot_size, ROUND_CEILING))
    return max(part, min(size, instrument.lot_size))


def _for_exit(tracked: Tracked, flight: Flight | None, limits: Limits, now: datetime) -> Wait | None:
    if flight is None:
        return None
    due = flight.issued_at + limits.reissue
    again = flight.signal_id == tracked.exit_signal_id and flight.rule == tracked.latched_rule
    is_ours = flight.signal_id == tracked.exit_signal_id
    if flight.answer is Answer.FILLED:
        if is_ours and not _shows_fill(tracked, flight):
            return Wait(reason=Hold.FILL_NOT_SHOWN if now < due else Hold.POSITION_VIEW_LATE)
    elif flight.answer is Answer.EXPIRED:
        return None
    elif now < due and flight.answer is not Answer.REFUSED:
        return Wait(reason=Hold.EXIT_IN_FLIGHT, until=due)
    # Another rule than the refused one goes at once; the same again only in time.
    elif now < due and again:
        return Wait(reason=Hold.EXIT_REFUSED, until=due)
    return None


# Another rule than the one refused is one more try at once.
def _for_refusals(tracked: Tracked, flight: Flight | None, limits: Limits, now: datetime) -> Wait | None:
    if flight is None or flight.answer is Answer.EXPIRED or refusals(tracked, flight) < PATIENCE:
        return None
    free_at = flight.issued_at + limits.cooldown
    if now < free_at and flight.rule == tracked.latched_rule:
        return Wait(reason=Hold.EXITS_REFUSED_REPEATEDLY, until=free_at)
    return None


# What goes on with an exit, a further part of it or the same again, has cooled down with its beginning.
def _for_pace(tracked: Tracked, traffic: Traffic, limits: Limits, now: datetime) -> Wait | None:
    if tracked.latched_rule not in PACED:
        return None
    if tracked.last_exit_at is not None and not _goes_on(tracked, traffic.newest_exit):
        cool_at = tracked.last_exit_at + limits.cooldown
        if now < cool_at:
            return Wait(reason=Hold.COOLING_DOWN, until=cool_at)
    recent = [at for at in traffic.published_exits if at > now - limits.rate_window]
    if limits.rate_limit is not None and len(recent) >= limits.rate_limit:
        return Wait(reason=Hold.RATE_LIMITED, until=recent[-limits.rate_limit] + limits.rate_window)
    return None


def _goes_on(tracked: Tracked, flight: Flight | None) -> bool:
    return (
        flight is not None
        and flight.signal_id == tracked.exit_signal_id
        and (flight.rule, flight.stage) == (tracked.latched_rule, tracked.stage)
    )


def _for_entry(traffic: Traffic, limits: Limits, now: datetime) -> Wait | None:
    if traffic.newest_entry_at is None:
        return None
    free_at = traffic.newest_entry_at + limits.entry_gap
    return Wait(reason=Hold.ENTRY_JUST_SENT, until=free_at) if now < free_at else None


# Who adds as much as was sold brings the size back to what it was, but not the entry.
def _shows_fill(tracked: Tracked, flight: Flight) -> bool:
    live = abs(tracked.size)
    if flight.filled_size and live <= flight.live_size - flight.filled_size:
        return True
    is_newer = flight.answered_at is not None and tracked.newest_event_at >= flight.answered_at
    has_new_entry = flight.entry_price not in (None, tracked.entry_price)
    return is_newer and (live != flight.live_size or has_new_entry)


# The position's view can be wrong; what our own fills bought is known, where nobody else had a part in it.
def _ours(tracked: Tracked, traffic: Traffic) -> Decimal:
    live = abs(tracked.size)
    if traffic.booked_size is None or tracked.strategy_id == UNATTRIBUTED:
        return live
    return min(live, max(traffic.booked_size, Decimal(0)))


# A stage is finished with once what is left of its share cannot be sent; all of a position never is.
def _is_taken(tracked: Tracked, rules: Rules, flight: Flight | None, minimum: Decimal) -> bool:
    if flight is None or not _goes_on(tracked, flight) or _share_pct(tracked, rules) >= ALL:
        return False
    return flight.size_to_close - flight.filled_size < minimum


def _size_to_close(
    tracked: Tracked,
    rules: Rules,
    flight: Flight | None,
    *,
    live: Decimal,
    minimum: Decimal,
    lot: Decimal,
) -> Decimal:
    share_pct = _share_pct(tracked, rules)
    if share_pct >= ALL:
        return live
    if flight is not None and _goes_on(tracked, flight):
        wanted = flight.size_to_close - flight.filled_size
    else:
        wanted = max(_to_step(live * share_pct / 100, lot, ROUND_FLOOR), minimum)
    # A rest below the minimum could not be closed later.
    return live if live - wanted < minimum else wanted


def _share_pct(tracked: Tracked, rules: Rules) -> Decimal:
    return closes_pct(tracked.latched_rule, tracked.stage, rules)


def _to_step(size: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (size / step).to_integral_value(rounding) * step
