"""An order's life, and what the Order Manager announces about it, in the captured shapes.

Times are naive UTC everywhere except in `market_conditions`; decimals are strings of 8 decimals, so that
zero reads "0E-8".
"""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from sandbox.core.order_rules import ZERO, OrderType, Plan, Side, Signal, floor_to_step
from sandbox.core.paper_account import QUANTUM

Status = Literal["pending", "partially_filled", "filled", "cancelled", "rejected", "dry_run"]
Event = dict[str, Any]

PART = Decimal("0.4")
"""Share of a larger limit order that trades at once."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `orders`, plus what only the exchange knows of it. Times are naive UTC."""

    id: uuid.UUID
    order_id: str
    signal_id: uuid.UUID
    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None
    status: Status
    filled_quantity: Decimal = ZERO
    average_price: Decimal | None = None
    fees: Decimal | None = None
    created_at: datetime
    updated_at: datetime
    executed_at: datetime | None = None
    trace_id: str
    rejection_reason: str | None = None
    reduce_only: bool
    reference_price: Decimal

    @property
    def is_open(self) -> bool:
        """Whether the order may still fill."""
        return self.status in {"pending", "partially_filled"}

    @property
    def remaining(self) -> Decimal:
        """Base units not filled yet."""
        return self.quantity - self.filled_quantity

    @property
    def reserved_quote(self) -> Decimal:
        """Quote currency that an open order keeps from others."""
        return self.remaining * self.reference_price if self.is_open and not self.reduce_only else ZERO


def placed(
    plan: Plan,
    *,
    order_uuid: uuid.UUID,
    order_id: str,
    signal_id: uuid.UUID,
    trace_id: str,
    now: datetime,
) -> Order:
    """The order as the exchange just accepted it."""
    return Order(
        id=order_uuid,
        order_id=order_id,
        signal_id=signal_id,
        symbol=plan.symbol,
        side=plan.side,
        order_type=plan.order_type,
        quantity=plan.quantity,
        price=plan.price,
        status="pending",
        created_at=now,
        updated_at=now,
        trace_id=trace_id,
        reduce_only=plan.reduce_only,
        reference_price=plan.reference_price,
    )


def rejected(order: Order, reason: str) -> Order:
    """The order as one that never reached the exchange's book."""
    return msgspec.structs.replace(
        order, order_id=f"REJECTED-{order.signal_id}", status="rejected", rejection_reason=reason
    )


def cancelled(order: Order, now: datetime) -> Order:
    """The order with what was filled kept and the rest given up."""
    return msgspec.structs.replace(order, status="cancelled", updated_at=now)


def filled(order: Order, quantity: Decimal, price: Decimal, fee_quote: Decimal, now: datetime) -> Order:
    """The order after `quantity` more base units traded at `price`."""
    total = order.filled_quantity + quantity
    paid = order.filled_quantity * (order.average_price or ZERO) + quantity * price
    is_complete = total >= order.quantity
    return msgspec.structs.replace(
        order,
        status="filled" if is_complete else "partially_filled",
        filled_quantity=total,
        average_price=(paid / total).quantize(QUANTUM),
        fees=(order.fees or ZERO) + fee_quote,
        updated_at=now,
        executed_at=now if is_complete else None,
    )


def tradable(
    order: Order, mid: Decimal, position_size: Decimal, lot: Decimal, in_parts_above_quote: Decimal
) -> Decimal:
    """Base units of an open order that trade now; 0 while its price is not reached.

    A limit order trades when the market goes *through* its price, one above `in_parts_above_quote` in
    parts of 40 %. A reduce-only order never trades more than the position.
    """
    quantity = order.remaining
    if order.price is not None:
        if not (mid < order.price if order.side == "Buy" else mid > order.price):
            return ZERO
        if order.quantity * order.price > in_parts_above_quote:
            quantity = min(quantity, max(floor_to_step(order.quantity * PART, lot), lot))
    return min(quantity, abs(position_size)) if order.reduce_only else quantity


def crosses(order: Order, mid: Decimal, spread_rel: Decimal) -> bool:
    """Whether a limit order would trade at once against the other side of the book."""
    if order.price is None:
        return False
    half = mid * spread_rel / 2
    return order.price >= mid + half if order.side == "Buy" else order.price <= mid - half


def rejected_event(order: Order, signal: Signal, *, event_id: uuid.UUID, now: datetime) -> Event:
    """Announces that a signal became no order; carries the signal, unlike every other event."""
    return {
        **_head("rejected", order, event_id, order.trace_id, now),
        "rejection_reason": order.rejection_reason,
        "market_conditions": {
            "price": float(signal.price),
            "spread": _number(signal.spread_pct),
            "volume_24h": _number(signal.volume_24h),
            "volatility": _number(signal.volatility),
            "timestamp": _aware(order.created_at),
        },
        "signal": {
            "signal_id": str(signal.signal_id),
            "signal_type": signal.signal_type,
            "asset": signal.symbol,
            "amount": float(signal.amount_quote),
            "confidence": float(signal.confidence),
            "strategy_id": signal.strategy_id,
            "model_version": signal.model_version,
            "is_warmup": signal.is_warmup,
        },
    }


def cancelled_event(
    before: Order, after: Order, *, trace_id: str, event_id: uuid.UUID, now: datetime
) -> Event:
    """Announces a cancellation; `trace_id` is that of the signal which pushed the order out."""
    return {
        **_head("cancelled", after, event_id, trace_id, now),
        "modification": {"before": _progress(before), "after": _progress(after)},
    }


def fill_event(order: Order, price: Decimal, *, trace_id: str, event_id: uuid.UUID, now: datetime) -> Event:
    """Announces that the order became filled or partially filled; `trace_id` is a fresh one."""
    return {
        **_head(order.status, order, event_id, trace_id, now),
        "market_conditions": {"price": float(price), "timestamp": _aware(order.updated_at)},
    }


def _head(event_type: str, order: Order, event_id: uuid.UUID, trace_id: str, now: datetime) -> Event:
    latency_s = None
    if order.executed_at is not None:
        latency_s = (order.executed_at - order.created_at).total_seconds()
    return {
        "event_id": str(event_id),
        "event_type": event_type,
        "timestamp": now.isoformat(),
        "trace_id": trace_id,
        "order": {
            "id": str(order.id),
            "order_id": order.order_id,
            "signal_id": str(order.signal_id),
            "asset": order.symbol,
            "side": order.side,
            "order_type": order.order_type,
            "quantity": _text(order.quantity),
            "price": _text_or_null(order.price),
            "status": order.status,
            "filled_quantity": _text(order.filled_quantity),
            "average_price": _text_or_null(order.average_price),
            "fees": _text_or_null(order.fees),
            "created_at": order.created_at.isoformat(),
            "updated_at": order.updated_at.isoformat(),
            "executed_at": None if order.executed_at is None else order.executed_at.isoformat(),
            "is_dry_run": False,
        },
        "execution_details": {
            "execution_latency_seconds": latency_s,
            "fill_percentage": float(round(order.filled_quantity / order.quantity * 100, 2)),
            "remaining_quantity": _text(order.remaining),
        },
    }


def _progress(order: Order) -> dict[str, str | None]:
    return {
        "status": order.status,
        "filled_quantity": _text(order.filled_quantity),
        "average_price": _text_or_null(order.average_price),
    }


def _text(value: Decimal) -> str:
    # An order refused for its absurd size is still announced: what no column holds goes out as it is.
    return str(value.quantize(QUANTUM)) if abs(value) < Decimal(10) ** 18 else str(value)


def _text_or_null(value: Decimal | None) -> str | None:
    return None if value is None else _text(value)


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _aware(moment: datetime) -> str:
    return moment.replace(tzinfo=UTC).isoformat()
