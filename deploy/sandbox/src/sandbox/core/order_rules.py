"""What the Order Manager makes of a signal: is it readable, which order is it, and is the order allowed?

Written from the wire contract alone, deliberately without the fleet's own message types: a mistake in those
must be refused here, not mirrored. Its surprises (amounts raised to a minimum, quantities shrunk off the lot
step, a sell that opens a short) are the neighbour's real behaviour.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from math import isfinite
from typing import Literal

import msgspec

Side = Literal["Buy", "SELL"]
OrderType = Literal["Market", "Limit"]

ZERO = Decimal(0)
MARKET_ABOVE_CONFIDENCE = Decimal("0.9")
MARKET_UP_TO_SPREAD_PCT = Decimal("0.1")
LIMIT_DISTANCE = Decimal("0.001")
"""How far from the snapshot price a post-only limit order rests, as a fraction."""

LARGEST_STORABLE = Decimal(10) ** 12
SMALLEST_STORABLE = Decimal("0.00000001")


class Malformed(msgspec.Struct, frozen=True):
    """The message can not be read as a signal: it is dropped, and only a log line tells."""

    reason: str


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A readable trading signal; `amount_quote` and the snapshot's `price` are in quote currency."""

    signal_id: uuid.UUID
    signal_type: Literal["buy", "sell"]
    symbol: str
    amount_quote: Decimal
    confidence: Decimal
    timestamp: datetime
    strategy_id: str
    model_version: str | None
    is_warmup: bool
    price: Decimal
    spread_pct: Decimal | None
    volume_24h: Decimal | None
    volatility: Decimal | None
    urgency: bool
    is_exit: bool
    """Metadata's `exit_strategy` is truthy; only the Order Manager's next release looks at it."""

    @property
    def side(self) -> Side:
        """The order's side as the exchange spells it."""
        return "Buy" if self.signal_type == "buy" else "SELL"


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange's trading rules for one symbol; sizes in base currency, `min_order_value` in quote."""

    symbol: str
    base_coin: str
    quote_coin: str
    lot_size: Decimal
    min_order_qty: Decimal
    min_order_value: Decimal
    price_tick_size: Decimal


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The order that a signal becomes; `price` is None for a market order."""

    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None
    reference_price: Decimal
    """The price at which the order is valued before it fills."""
    reduce_only: bool

    @property
    def notional_quote(self) -> Decimal:
        """The order's value before fees."""
        return self.quantity * self.reference_price


def validate(body: object) -> Signal | Malformed:
    """`body` (decoded JSON of any shape) as a signal, or the first reason why it is none."""
    try:
        return _signal(body)
    except _Unreadable as error:
        return Malformed(str(error))


def order_type(confidence: Decimal, spread_pct: Decimal | None, *, urgency: bool) -> OrderType:
    """Market when very sure, when the spread is tight (or unknown: null counts as 0) or when urgent."""
    is_market = (
        urgency or confidence > MARKET_ABOVE_CONFIDENCE or (spread_pct or ZERO) <= MARKET_UP_TO_SPREAD_PCT
    )
    return "Market" if is_market else "Limit"


def limit_price(side: Side, price: Decimal, tick: Decimal) -> Decimal:
    """Where a post-only order rests: 0.1 % on the passive side of `price`, on the tick away from it."""
    if side == "Buy":
        return floor_to_step(price * (1 - LIMIT_DISTANCE), tick)
    return ceil_to_step(price * (1 + LIMIT_DISTANCE), tick)


def order_quantity(
    amount_quote: Decimal, price: Decimal, instrument: Instrument, cap_quote: Decimal
) -> Decimal:
    """Base units for `amount_quote`: floored to the lot, *raised* to the minimum, capped *off* the lot.

    Above `cap_quote` the answer is cap / price and nothing more, so an exchange will refuse it.
    """
    lot = instrument.lot_size
    minimum = max(ceil_to_step(instrument.min_order_value / price, lot), instrument.min_order_qty, lot)
    quantity = max(floor_to_step(amount_quote / price, lot), minimum)
    return cap_quote / price if quantity * price > cap_quote else quantity


def plan_order(signal: Signal, position_size: Decimal, instrument: Instrument, cap_quote: Decimal) -> Plan:
    """The order for `signal` beside a signed position: reduce-only exactly when it is opposite to it."""
    kind = order_type(signal.confidence, signal.spread_pct, urgency=signal.urgency)
    resting = limit_price(signal.side, signal.price, instrument.price_tick_size) if kind == "Limit" else None
    return Plan(
        symbol=signal.symbol,
        side=signal.side,
        order_type=kind,
        quantity=order_quantity(signal.amount_quote, signal.price, instrument, cap_quote),
        price=resting,
        reference_price=signal.price if resting is None else resting,
        reduce_only=is_opposite(signal.side, position_size),
    )


def risk_rejection(
    plan: Plan, position_size: Decimal, available_quote: Decimal, max_position_size: Decimal
) -> str | None:
    """Why the order breaks a risk limit, or None. A reduce-only order breaks none.

    `max_position_size` is in base units for every asset, whatever one unit of it costs.
    """
    if plan.reduce_only:
        return None
    if plan.notional_quote > available_quote:
        coin = "balance" if plan.side == "Buy" else "margin"
        return f"Risk limit exceeded: Insufficient {coin}: {_shortfall(plan.notional_quote, available_quote)}"
    resulting = position_size + signed(plan.side, plan.quantity)
    if abs(resulting) > max_position_size:
        return (
            f"Risk limit exceeded: Position size would exceed limit: current={position_size}, "
            f"order={plan.quantity}, resulting={resulting}, limit={max_position_size}"
        )
    return None


def exchange_refusal(
    plan: Plan, instrument: Instrument, available_quote: Decimal, cost_rate: Decimal
) -> str | None:
    """Why the exchange itself refuses the order, or None; `cost_rate` covers fee and slippage."""
    if not is_storable(plan.quantity):
        return f"Order execution failed: Cannot adapt order size: quantity={plan.quantity:.8E}"
    if plan.price is not None and not is_storable(plan.price):
        return f"Order execution failed: Bybit API error: Price invalid: {plan.price:.8E} (code 10001)"
    if plan.quantity % instrument.lot_size:
        return f"Order execution failed: Bybit API error: Qty invalid: {plan.quantity} (code 10001)"
    if not plan.reduce_only and plan.notional_quote * (1 + cost_rate) > available_quote:
        return "Order execution failed: Bybit API error: ab not enough for new order (code 110007)"
    return None


def is_opposite(side: Side, position_size: Decimal) -> bool:
    """Whether an order on `side` would reduce the signed position."""
    return position_size > 0 if side == "SELL" else position_size < 0


def signed(side: Side, quantity: Decimal) -> Decimal:
    """`quantity` as a change of position: positive for a buy."""
    return quantity if side == "Buy" else -quantity


def is_storable(value: Decimal) -> bool:
    """Whether a positive `value` fits the platform's numeric(20,8) columns without becoming 0."""
    return SMALLEST_STORABLE <= value < LARGEST_STORABLE


def floor_to_step(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that is not above `value`."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to_step(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is not below `value`."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


class _Unreadable(Exception):
    pass


def _signal(body: object) -> Signal:
    fields = _object(body, "signal")
    snapshot = _object(fields.get("market_data_snapshot"), "market_data_snapshot")
    metadata = _object_or_null(fields, "metadata")
    _object_or_null(snapshot, "orderbook_depth")
    _object_or_null(snapshot, "technical_indicators")
    _text_or_null(fields, "trace_id", longest=None)
    return Signal(
        signal_id=_uuid(fields),
        signal_type=_signal_type(fields),
        symbol=_asset(fields),
        amount_quote=_at_least(_number(fields, "amount"), Decimal("0.01"), "amount"),
        confidence=_confidence(fields),
        timestamp=_timestamp(fields),
        strategy_id=_text(fields, "strategy_id", longest=100),
        model_version=_text_or_null(fields, "model_version", longest=50),
        is_warmup=_flag(fields, "is_warmup"),
        price=_price(snapshot),
        spread_pct=_number_or_null(snapshot, "spread"),
        volume_24h=_number_or_null(snapshot, "volume_24h"),
        volatility=_number_or_null(snapshot, "volatility"),
        urgency=metadata.get("urgency") is True,
        is_exit=bool(metadata.get("exit_strategy")),
    )


def _shortfall(required: Decimal, available: Decimal) -> str:
    missing = required - available
    return (
        f"required={required} USDT, available={available} USDT, "
        f"shortfall={missing} USDT ({missing / required * 100:.2f}%)"
    )


def _object(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _Unreadable(f"{name} is not an object")
    return value


def _object_or_null(fields: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = fields.get(name)
    return {} if value is None else _object(value, name)


def _text(fields: Mapping[str, object], name: str, *, longest: int) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise _Unreadable(f"{name} is not a string")
    if not 1 <= len(value) <= longest:
        raise _Unreadable(f"{name} is not 1 to {longest} characters long")
    return value


def _text_or_null(fields: Mapping[str, object], name: str, *, longest: int | None) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Unreadable(f"{name} is neither a string nor null")
    if longest is not None and len(value) > longest:
        raise _Unreadable(f"{name} is longer than {longest} characters")
    return value


def _flag(fields: Mapping[str, object], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise _Unreadable(f"{name} is not a boolean")
    return value


def _number(fields: Mapping[str, object], name: str) -> Decimal:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unreadable(f"{name} is not a number")
    try:
        number = float(value)
    except OverflowError:
        raise _Unreadable(f"{name} is not finite") from None
    if not isfinite(number):
        raise _Unreadable(f"{name} is not finite")
    return Decimal(repr(number))


def _number_or_null(fields: Mapping[str, object], name: str) -> Decimal | None:
    return None if fields.get(name) is None else _at_least(_number(fields, name), ZERO, name)


def _at_least(number: Decimal, smallest: Decimal, name: str) -> Decimal:
    if number < smallest:
        raise _Unreadable(f"{name} is below {smallest}")
    return number


def _price(snapshot: Mapping[str, object]) -> Decimal:
    price = _number(snapshot, "price")
    if price <= 0:
        raise _Unreadable("price is not above 0")
    return price


def _confidence(fields: Mapping[str, object]) -> Decimal:
    confidence = _number(fields, "confidence")
    if not 0 <= confidence <= 1:
        raise _Unreadable("confidence is not between 0 and 1")
    return confidence


def _uuid(fields: Mapping[str, object]) -> uuid.UUID:
    try:
        return uuid.UUID(_text(fields, "signal_id", longest=50))
    except ValueError:
        raise _Unreadable("signal_id is not a UUID") from None


def _signal_type(fields: Mapping[str, object]) -> Literal["buy", "sell"]:
    value = fields.get("signal_type")
    if value == "buy":
        return "buy"
    if value == "sell":
        return "sell"
    raise _Unreadable("signal_type is neither buy nor sell")


def _asset(fields: Mapping[str, object]) -> str:
    value = fields.get("asset")
    if not isinstance(value, str) or not 4 <= len(value) <= 20 or not (value.isascii() and value.isalnum()):
        raise _Unreadable("asset is not 4 to 20 letters and digits")
    return value.upper()


def _timestamp(fields: Mapping[str, object]) -> datetime:
    value = fields.get("timestamp")
    if not isinstance(value, str):
        raise _Unreadable("timestamp is not a string")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _Unreadable("timestamp is not ISO-8601") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
