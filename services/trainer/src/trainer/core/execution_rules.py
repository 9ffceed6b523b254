"""Which executions are believed: the rules of docs/validation-rules.md, and what is new of an order.

An order's figures are cumulative. Whatever source tells them, an order and its cumulative quantity make one
execution: the same id, the same difference to what is booked already.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Annotated, Any, Literal
from uuid import UUID, uuid5

import msgspec

from common.core.ids import NAMESPACE
from trainer.core.fifo import DIGITS, ZERO, Fill

MAX_QUANTITY = Decimal("1e12")
"""Base currency; what a column of the platform holds stays below."""
MAX_VALUE = Decimal("1e15")
"""Quote currency."""
MAX_PRICE_RATIO = Decimal(2)
"""An execution this many times above or below its signal's price is a corrupt figure, not slippage."""
MAX_CLOCK_DIFFERENCE = timedelta(seconds=60)
"""By which clocks of the platform may disagree."""

_PLACES = Decimal("1e-8")
_VALUE_PLACES = Decimal("1e-12")
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]


class OrderState(msgspec.Struct, frozen=True, kw_only=True):
    """An order as a row of `orders` or an order event tells it: its form is right, its figures may lie."""

    order_id: _Text
    signal_id: UUID
    asset: _Text
    side: _Text
    status: _Text
    quantity: Decimal
    filled_quantity: Decimal
    """Base currency, cumulative."""
    average_price: Decimal | None = None
    fees: Decimal | None = None
    """Quote currency, cumulative."""
    updated_at: datetime
    executed_at: datetime | None = None
    is_dry_run: bool | None = False

    @property
    def has_executed(self) -> bool:
        """It claims that something was traded; a dry run trades nothing."""
        return not self.is_dry_run and (bool(self.filled_quantity) or self.status == "filled")


class SentSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A signal of ours, as trading_signals has it."""

    signal_id: UUID
    strategy_id: str
    symbol: str
    side: Literal["buy", "sell"]
    price: Decimal
    """Quote currency, what the decision saw."""
    timestamp: datetime
    reduces_only: bool
    """An exit: its order never opens anything."""
    trace_id: str | None


class Executed(msgspec.Struct, frozen=True, kw_only=True):
    """What of an order has been executed so far, believed."""

    order_id: str
    side: Literal["buy", "sell"]
    quantity: Decimal
    """Base currency, 8 decimals."""
    value: Decimal
    """Quote currency, 12 decimals."""
    fees: Decimal | None
    """Quote currency; None: not known yet."""
    executed_at: datetime
    updated_at: datetime

    @property
    def execution_id(self) -> UUID:
        """The same from every source, on every trainer and after every restart."""
        return uuid5(NAMESPACE, f"execution {self.quantity:f} {self.order_id}")


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """How much of an order stands in execution_events already."""

    quantity: Decimal = ZERO
    value: Decimal = ZERO
    fees: Decimal = ZERO


class Invalid(msgspec.Struct, frozen=True):
    """Why an execution is not believed: every broken rule, in words."""

    reason: str


def order_state(told: Mapping[str, Any]) -> OrderState | Invalid:
    """The order in `told`; decimals may be strings or numbers, times without an offset are UTC."""
    try:
        state = msgspec.convert(told, OrderState, strict=False)
    except msgspec.ValidationError as error:
        return Invalid(str(error))
    return msgspec.structs.replace(
        state,
        updated_at=_aware(state.updated_at),
        executed_at=_aware(state.executed_at) if state.executed_at else None,
    )


def executed(state: OrderState, signal: SentSignal, *, now: datetime) -> Executed | Invalid:
    """What the order executed for `signal`, if every rule holds."""
    faults = _figure_faults(state)
    if not faults:
        faults = [
            *_price_faults(state, signal),
            *_origin_faults(state, signal),
            *_time_faults(state, signal, now),
        ]
    if faults or state.average_price is None:
        return Invalid("; ".join(faults))
    with localcontext(prec=DIGITS):
        quantity = state.filled_quantity.quantize(_PLACES)
        return Executed(
            order_id=state.order_id,
            side=signal.side,
            quantity=quantity,
            value=(quantity * state.average_price).quantize(_VALUE_PLACES),
            fees=None if state.fees is None else state.fees.quantize(_PLACES),
            executed_at=state.executed_at or state.updated_at,
            updated_at=state.updated_at,
        )


def news(done: Executed, booked: Booked) -> Fill | Invalid | None:
    """The part that is not booked yet; None: there is none (a repetition, or an older state).

    A value or fees below what is booked of a smaller quantity are invalid: cumulative figures never fall.
    """
    quantity = done.quantity - booked.quantity
    if quantity <= 0:
        return None
    value = done.value - booked.value
    fees = ZERO if done.fees is None else done.fees - booked.fees
    if value <= 0 or not price_of(value, quantity):
        return Invalid(
            f"the filled value went from {booked.value:f} to {done.value:f} for {quantity:f} more: "
            "no price in that"
        )
    if fees < 0:
        return Invalid(f"the fees fell from {booked.fees:f} to {done.fees:f}")
    return Fill(quantity=quantity if done.side == "buy" else -quantity, value=value, fees=fees)


def price_of(value: Decimal, quantity: Decimal) -> Decimal:
    """Quote currency per unit, to 8 decimals."""
    with localcontext(prec=DIGITS):
        return (value / abs(quantity)).quantize(_PLACES)


def _figure_faults(state: OrderState) -> list[str]:
    named = {
        "quantity": state.quantity,
        "filled_quantity": state.filled_quantity,
        "average_price": state.average_price,
        "fees": state.fees,
    }
    known = {name: figure for name, figure in named.items() if figure is not None}
    odd = [f"{name} is {figure}, no number" for name, figure in known.items() if not figure.is_finite()]
    if odd:
        return odd  # a comparison with NaN raises
    faults = [f"{name} is {figure}, below 0" for name, figure in known.items() if figure < 0]
    faults += [f"{name} is out of range" for name, figure in known.items() if figure >= MAX_QUANTITY]
    if not faults and not state.filled_quantity.quantize(_PLACES):
        faults.append(f"status is {state.status}, but nothing is filled")
    if state.filled_quantity > state.quantity:
        faults.append(f"filled_quantity {state.filled_quantity} is more than quantity {state.quantity}")
    if state.status == "rejected":
        faults.append("status is rejected, but something is filled")
    return faults


def _price_faults(state: OrderState, signal: SentSignal) -> list[str]:
    price = state.average_price
    if price is None:
        return ["average_price is missing"]
    if not signal.price / MAX_PRICE_RATIO <= price <= signal.price * MAX_PRICE_RATIO:
        return [f"average_price {price} is out of range: its signal saw {signal.price}"]
    value = state.filled_quantity * price
    if value >= MAX_VALUE:
        return [f"the filled value {value} is out of range"]
    if state.fees is not None and state.fees > value:
        return [f"fees {state.fees} are more than the filled value {value}"]
    return []


def _origin_faults(state: OrderState, signal: SentSignal) -> list[str]:
    faults = []
    if state.side.lower() != signal.side:
        faults.append(f"side is {state.side}, its signal said {signal.side}")
    if state.asset.upper() != signal.symbol.upper():
        faults.append(f"asset is {state.asset}, its signal said {signal.symbol}")
    return faults


def _time_faults(state: OrderState, signal: SentSignal, now: datetime) -> list[str]:
    faults = []
    for name, moment in (("executed_at", state.executed_at), ("updated_at", state.updated_at)):
        if moment is None:
            continue
        if moment > now + MAX_CLOCK_DIFFERENCE:
            faults.append(f"{name} {moment.isoformat()} is in the future")
        elif moment < signal.timestamp - MAX_CLOCK_DIFFERENCE:
            faults.append(f"{name} {moment.isoformat()} is before its signal")
    return faults


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
