"""What a latched position may send now: the next exit signal, nothing yet, or nothing more.

One exit is in flight per symbol. One that is unanswered is issued again after a while with the live size, one
that expired unsent at once. One that was filled never is: while the position does not show the fill, it is
the view that is late.
"""

from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from uuid import UUID

import msgspec

from common.core.exits.holds import Hold
from common.core.exits.position import Tracked, View
from common.core.exits.rules import ALL, Rules, closes_pct

OVERSHOOT = Decimal("1.000001")
"""Flooring amount / price to the lot must give the size, not one lot less; it stays below one lot."""
AMOUNT_STEP = Decimal("0.00000001")
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


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """Send this much now. Sizes unsigned, base currency; `price` and `amount_quote` in quote currency."""

    rule: str
    stage: int
    generation: int
    size: Decimal
    size_to_close: Decimal
    price: Decimal
    amount_quote: Decimal


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
    flight = traffic.newest_exit
    wait = _for_exit(tracked, flight, limits, now) or _for_entry(traffic, limits, now)
    if wait is not None:
        return wait
    price = tracked.last_price or tracked.entry_price
    size_to_close = _size_to_close(tracked, rules, flight, instrument, price)
    if not size_to_close:
        return Done()
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
    )


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
    is_ours = flight.signal_id == tracked.exit_signal_id
    if flight.answer is Answer.FILLED:
        if is_ours and not _shows_fill(tracked, flight):
            return Wait(reason=Hold.FILL_NOT_SHOWN if now < due else Hold.POSITION_VIEW_LATE)
    elif flight.answer is Answer.EXPIRED:
        return None
    elif now < due and flight.answer is not Answer.REFUSED:
        return Wait(reason=Hold.EXIT_IN_FLIGHT, until=due)
    # Another rule than the refused one goes at once; the same again only in time.
    elif now < due and is_ours and flight.rule == tracked.latched_rule:
        return Wait(reason=Hold.EXIT_REFUSED, until=due)
    return None


def _for_entry(traffic: Traffic, limits: Limits, now: datetime) -> Wait | None:
    if traffic.newest_entry_at is None:
        return None
    free_at = traffic.newest_entry_at + limits.entry_gap
    return Wait(reason=Hold.ENTRY_JUST_SENT, until=free_at) if now < free_at else None


def _shows_fill(tracked: Tracked, flight: Flight) -> bool:
    live = abs(tracked.size)
    if flight.filled_size and live <= flight.live_size - flight.filled_size:
        return True
    is_newer = flight.answered_at is not None and tracked.newest_event_at >= flight.answered_at
    return is_newer and live != flight.live_size


def _size_to_close(
    tracked: Tracked, rules: Rules, flight: Flight | None, instrument: Instrument, price: Decimal
) -> Decimal:
    live = abs(tracked.size)
    share_pct = closes_pct(tracked.latched_rule or "", tracked.stage, rules)
    if share_pct >= ALL:
        return live
    minimum = instrument.minimum(price)
    if (
        flight is not None
        and flight.signal_id == tracked.exit_signal_id
        and (flight.rule, flight.stage) == (tracked.latched_rule, tracked.stage)
    ):
        wanted = flight.size_to_close - flight.filled_size
        if wanted < minimum:
            return Decimal(0)
    else:
        wanted = max(_to_step(live * share_pct / 100, instrument.lot_size, ROUND_FLOOR), minimum)
    # A rest below the minimum could not be closed later.
    return live if live - wanted < minimum else wanted


def _to_step(size: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (size / step).to_integral_value(rounding) * step
