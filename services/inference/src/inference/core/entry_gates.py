"""The gates of an entry: each looks at one thing that can forbid a signal or make it smaller.

A gate answers with a `Check`: it passes, passes with a smaller amount, or denies with its reason, and always
shows the figures it compared. Comparisons say what must hold, so that NaN denies. The first denial wins.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, ROUND_FLOOR, Decimal

from common.core import rate_limit
from common.core.trading_state import TradingState
from inference.core.case import Case, Instrument
from inference.core.check import Check, instant, passes_if, plain, seconds
from inference.core.reasons import Reason

_CENT = Decimal("0.01")
_SATOSHI = Decimal("0.00000001")
_LEFT_PENDING = ("pending", None)
BOOKING_PATIENCE = timedelta(seconds=60)
"""A fill that the Position Manager has no time for counts as missing for so long."""


def state(case: Case, amount: Decimal) -> Check:
    """ACTIVE lets everything through, REDUCING what reduces a position, HALTED nothing."""
    held = case.situation.state
    if held is TradingState.ACTIVE:
        return Check(None, {"state": held})
    if held is TradingState.REDUCING and not case.adds_exposure:
        return Check(None, {"state": held})
    reason = Reason.TRADING_REDUCING if held is TradingState.REDUCING else Reason.TRADING_HALTED
    return Check(reason, {"state": held})


def undecided(case: Case, amount: Decimal) -> Check:
    """No signal exists for this vector."""
    return passes_if(not case.ledger.claimed, Reason.VECTOR_ALREADY_DECIDED, signal_id=str(case.signal_id))


def newest(case: Case, amount: Decimal) -> Check:
    """No signal of the strategy and symbol was emitted for a newer vector."""
    emitted = case.ledger.newest_emitted
    fits = emitted is None or emitted < case.vector.timestamp
    return passes_if(fits, Reason.NEWER_SIGNAL_EXISTS, newest_emitted=instant(emitted))


def warmup_slot(case: Case, amount: Decimal) -> Check:
    """The fleet's present time slot is free."""
    return passes_if(not case.ledger.warmup_slot_taken, Reason.WARMUP_SLOT_TAKEN)


def open_order(case: Case, amount: Decimal) -> Check:
    """No order of the strategy is pending or partially filled; optionally only opposite ones count."""
    counted = [
        order
        for order in case.situation.open_orders
        if not case.limits.opposite_orders_only or order.side != case.proposal.side
    ]
    facts = {"orders": [{"order_id": o.order_id, "side": o.side, "status": o.status} for o in counted[:5]]}
    passes = not counted or not case.limits.skip_if_open_order
    return Check(None if passes else Reason.OPEN_ORDER, facts)


def closing(case: Case, amount: Decimal) -> Check:
    """No position of the symbol is being closed: an entry would cancel the exit's order."""
    return passes_if(not case.ledger.exit_latched, Reason.EXIT_IN_FLIGHT)


def in_flight(case: Case, amount: Decimal) -> Check:
    """The symbol's previous signal left `pending` in orders, or has had its time."""
    last = case.ledger.last_signal
    if last is None:
        return Check(None, {"last_signal": None})
    since_s = seconds(case.now - last.created_at)
    answered = last.order_status not in _LEFT_PENDING
    passes = answered or since_s > case.limits.in_flight_timeout_s
    return passes_if(passes, Reason.SIGNAL_IN_FLIGHT, since_s=since_s, order_status=last.order_status)


def position(case: Case, amount: Decimal) -> Check:
    """The position is known, and the Position Manager has booked the symbol's newest fill."""
    known = case.situation
    facts: dict[str, object] = {
        "live_size": None if known.live_size is None else plain(known.live_size),
        "booked_at": instant(known.booked_at),
        "newest_fill_at": instant(known.newest_fill_at),
    }
    if known.live_size is None:
        return Check(Reason.POSITION_UNKNOWN, {**facts, "problem": known.position_problem})
    if not _is_booked(case):
        return Check(Reason.POSITION_UNKNOWN, {**facts, "problem": "the newest fill is not booked yet"})
    return Check(None, facts)


def holdings(case: Case, amount: Decimal) -> Check:
    """What reduces a position stays within its value; a sell without a long needs SHORT_ENTRIES_ENABLED."""
    facts = {"held_quote": plain(case.held_quote), "reduces": not case.adds_exposure}
    if not case.adds_exposure:
        return Check(None, facts, min(amount, case.held_quote.quantize(_SATOSHI, ROUND_DOWN)))
    opens_short = case.proposal.side == "sell" and not case.limits.short_entries
    return Check(Reason.WOULD_OPEN_SHORT if opens_short else None, facts)


def balance(case: Case, amount: Decimal) -> Check:
    """What adds exposure fits into the free balance, after margin, reservations, fee and slippage."""
    if not case.adds_exposure:
        return Check(None, {"needed": False})
    is_buy = case.proposal.side == "buy"
    known = case.situation.balance if is_buy else case.situation.margin
    reserved = case.ledger.reserved_quote if is_buy else case.ledger.reserved_margin_quote
    of = "quote" if is_buy else "margin"
    if known is None or not known.available_quote.is_finite():
        return Check(Reason.BALANCE_UNKNOWN, {"of": of, "available_quote": None})
    age_s = seconds(case.now - known.received_at)
    if not age_s <= case.limits.balance_max_age_s:
        return Check(
            Reason.BALANCE_STALE, {"of": of, "age_s": age_s, "limit_s": case.limits.balance_max_age_s}
        )
    costs = 1 + case.limits.fee_rate + case.limits.slippage_rate
    affordable = _cents(known.available_quote * case.limits.balance_margin / costs - reserved)
    facts = {
        "of": of,
        "available_quote": plain(known.available_quote),
        "reserved_quote": plain(reserved),
        "affordable_quote": plain(affordable),
        "age_s": age_s,
    }
    if not affordable >= minimum_order(case.situation.instrument, case):
        return Check(Reason.BALANCE_TOO_SMALL, facts)
    return Check(None, facts, min(amount, affordable))


def position_limit(case: Case, amount: Decimal) -> Check:
    """With this signal the symbol has at most MODEL_SERVICE_MAX_POSITION_SIZE_RATIO of the exposure.

    Of MAX_EXPOSURE_QUOTE where that is set: held + amount <= ratio * maximum. Else of all positions, this
    signal included: held + amount <= ratio * (all + amount); while nothing at all is held the ratio is 0, and
    all of all positions is no limit, so that nobody asks for them.
    """
    limit, held = case.limits.max_position_ratio, case.held_quote
    if not case.adds_exposure or (limit == 1 and case.limits.max_exposure_quote is None):
        return Check(None, {"needed": False})
    whole, room = _exposure_room(case)
    if whole is None:
        unknown = {"held_quote": plain(held), "problem": "the other positions are not known"}
        return Check(Reason.POSITION_UNKNOWN, unknown)
    facts = {
        "held_quote": plain(held),
        "exposure_quote": plain(whole),
        "position_size_norm": float(round(held / whole, 6)) if whole else 0.0,
        "limit": float(limit),
        "room_quote": None if room is None else plain(room),
    }
    if room is None:
        return Check(None, facts)
    if not room >= minimum_order(case.situation.instrument, case):
        return Check(Reason.POSITION_LIMIT, facts)
    return Check(None, facts, min(amount, room))


def order_notional(case: Case, amount: Decimal) -> Check:
    """No signal exceeds MAX_ORDER_NOTIONAL: above its own cap the Order Manager mangles the quantity."""
    limit = case.limits.max_order_notional
    return Check(None, {"limit_quote": plain(limit)}, min(amount, limit))


def hourly_notional(case: Case, amount: Decimal) -> Check:
    """Entries of the last hour and this one stay within MAX_NOTIONAL_PER_HOUR."""
    limit = case.limits.max_notional_per_hour
    if limit is None or not case.adds_exposure:
        return Check(None, {"limit_quote": None})
    left = limit - case.ledger.hourly_notional
    facts = {"limit_quote": plain(limit), "left_quote": plain(left)}
    if not left >= minimum_order(case.situation.instrument, case):
        return Check(Reason.HOURLY_NOTIONAL_USED, facts)
    return Check(None, facts, min(amount, left))


def minimum(case: Case, amount: Decimal) -> Check:
    """The amount is at least the instrument's minimum: the Order Manager raises a smaller one on its own."""
    floor = minimum_order(case.situation.instrument, case)
    return passes_if(
        amount >= floor, Reason.BELOW_MINIMUM_ORDER, amount_quote=plain(amount), minimum=plain(floor)
    )


def rate(case: Case, amount: Decimal) -> Check:
    """The fleet's token bucket holds one more signal."""
    bucket = rate_limit.refilled(case.ledger.bucket, case.limits.rate, case.now)
    return passes_if(rate_limit.has_token(bucket), Reason.RATE_LIMITED, tokens=round(bucket.tokens, 3))


def expiry(case: Case, amount: Decimal) -> Check:
    """Some validity is left: SIGNAL_VALIDITY_SECONDS, never past the vector's maximum age."""
    left_s = seconds(valid_until(case) - case.now)
    return passes_if(left_s > 0, Reason.EXPIRED, left_s=left_s)


ENTRY_GATES: tuple[Callable[[Case, Decimal], Check], ...] = (
    state,
    undecided,
    newest,
    warmup_slot,
    open_order,
    closing,
    in_flight,
    position,
    holdings,
    balance,
    position_limit,
    order_notional,
    hourly_notional,
    minimum,
    rate,
    expiry,
)


def valid_until(case: Case) -> datetime:
    """When the signal stops being true."""
    of_vector = case.vector.timestamp + timedelta(seconds=case.limits.market_data_max_age_s)
    return min(case.now + timedelta(seconds=case.limits.validity_s), of_vector)


def minimum_order(instrument: Instrument | None, case: Case) -> Decimal:
    """The smallest order in quote currency that the Order Manager takes as it is."""
    if instrument is None:
        return case.limits.min_order_notional
    lots = max(instrument.min_order_qty, instrument.lot_size) * case.price
    return max(instrument.min_order_value, lots)


# The exposure that the ratio is taken of, and how much may still be added; None: unknown, and no limit.
def _exposure_room(case: Case) -> tuple[Decimal | None, Decimal | None]:
    limit, held = case.limits.max_position_ratio, case.held_quote
    if case.limits.max_exposure_quote is not None:
        whole = case.limits.max_exposure_quote
        return whole, _cents(limit * whole - held)
    if case.situation.other_exposure_quote is None:
        return None, None
    whole = case.situation.other_exposure_quote + held
    if not whole:
        return whole, None
    return whole, _cents((limit * whole - held) / (1 - limit))


# Without a row there is nothing to compare: then only a fill of this minute must still arrive there.
def _is_booked(case: Case) -> bool:
    filled_at, booked_at = case.situation.newest_fill_at, case.situation.booked_at
    if filled_at is None:
        return True
    if booked_at is None:
        return case.now - filled_at > BOOKING_PATIENCE
    return booked_at >= filled_at


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, ROUND_FLOOR)
