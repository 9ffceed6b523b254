"""The gates of an entry: each looks at one thing that can forbid a signal or make it smaller.

A gate answers with a `Check`: it passes, passes with a smaller amount, or denies with its reason, and always
shows the figures it compared. Comparisons say what must hold, so that NaN denies. The first denial wins.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from common.core import rate_limit
from common.core.trading_state import TradingState
from inference.core.case import Case, Instrument
from inference.core.check import Check, instant, passes_if, plain, seconds
from inference.core.reasons import Reason

_CENT = Decimal("0.01")
_SATOSHI = Decimal("0.00000001")
_LEFT_PENDING = ("pending", None)


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


def in_flight(case: Case, amount: Decimal) -> Check:
    """The symbol's previous signal left `pending` in orders, or has had its time."""
    last = case.ledger.last_signal
    if last is None:
        return Check(None, {"last_signal": None})
    since_s = seconds(case.now - last.created_at)
    answered = last.order_status not in _LEFT_PENDING
    passes = answered or since_s > case.limits.in_flight_timeout_s
    return passes_if(passes, Reason.SIGNAL_IN_FLIGHT, since_s=since_s, order_status=last.order_status)


def holdings(case: Case, amount: Decimal) -> Check:
    """The position is known, and a sell of a long stays within its value: beyond it a short would open."""
    size = case.situation.live_size
    if size is None:
        return Check(Reason.POSITION_UNKNOWN, {"live_size": None})
    if case.proposal.side == "buy":
        return Check(None, {"live_size": plain(size)})
    held_quote = (size * case.price).quantize(_SATOSHI, ROUND_DOWN)
    facts = {"live_size": plain(size), "held_quote": plain(held_quote)}
    if held_quote > 0:
        return Check(None, facts, min(amount, held_quote))
    return Check(None if case.limits.short_entries else Reason.WOULD_OPEN_SHORT, facts)


def balance(case: Case, amount: Decimal) -> Check:
    """What adds exposure fits into the free balance, after margin, reservations, fee and slippage."""
    if not case.adds_exposure:
        return Check(None, {"needed": False})
    known = case.situation.balance
    if known is None:
        return Check(Reason.BALANCE_UNKNOWN, {"available_quote": None})
    age_s = seconds(case.now - known.received_at)
    if not age_s <= case.limits.balance_max_age_s:
        return Check(Reason.BALANCE_STALE, {"age_s": age_s, "limit_s": case.limits.balance_max_age_s})
    costs = 1 + case.limits.fee_rate + case.limits.slippage_rate
    affordable = known.available_quote * case.limits.balance_margin / costs - case.ledger.reserved_quote
    adapted = min(amount, max(affordable, Decimal(0))).quantize(_CENT, ROUND_DOWN)
    facts = {
        "available_quote": plain(known.available_quote),
        "reserved_quote": plain(case.ledger.reserved_quote),
        "affordable_quote": plain(affordable),
        "age_s": age_s,
    }
    if not affordable >= minimum_order(case.situation.instrument, case):
        return Check(Reason.BALANCE_TOO_SMALL, facts)
    return Check(None, facts, adapted)


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
    in_flight,
    holdings,
    balance,
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
