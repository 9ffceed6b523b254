"""Positions in one-way mode: what does an order event change, and what is told of it?

The traps are the real Position Manager's: nothing is ever recomputed when a price moves, no current price
is known, a closed position stays as a row of size "0E-8" and is used again for the symbol's next one, with
id, creation time and realized pnl kept. Times are UTC-aware, decimals have 8 places.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from sandbox.core.order_rules import ZERO, Side, signed
from sandbox.core.paper_account import QUANTUM

NO_AMOUNT = ZERO.quantize(QUANTUM)


class Executed(msgspec.Struct, frozen=True, kw_only=True):
    """All that has been filled of one order so far: base units, and what they cost on average."""

    order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    average_price: Decimal

    @property
    def notional(self) -> Decimal:
        """Quote currency that changed hands."""
        return self.quantity * self.average_price


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """How much of an order is in the position already."""

    quantity: Decimal = NO_AMOUNT
    notional: Decimal = NO_AMOUNT


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """A signed change in base units, at quote currency per unit."""

    change: Decimal
    price: Decimal


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `positions`: `size` is signed, positive for a long."""

    id: uuid.UUID
    symbol: str
    mode: str = "one-way"
    size: Decimal = NO_AMOUNT
    average_entry_price: Decimal | None = None
    current_price: Decimal | None = None
    unrealized_pnl: Decimal = NO_AMOUNT
    realized_pnl: Decimal = NO_AMOUNT
    long_size: Decimal | None = None
    short_size: Decimal | None = None
    version: int = 0
    last_updated: datetime
    closed_at: datetime | None = None
    created_at: datetime

    @property
    def unrealized_pnl_pct(self) -> Decimal | None:
        """Of the notional at entry, in percent; None without a position."""
        if not self.size or not self.average_entry_price:
            return None
        return self.unrealized_pnl / (abs(self.size) * self.average_entry_price) * 100

    @property
    def exposure_quote(self) -> Decimal:
        """At the current price, so 0 while none is known."""
        return abs(self.size) * (self.current_price or ZERO)

    def minutes_held(self, now: datetime) -> int:
        """Age of the row, which is not the age of the position."""
        return max(int((now - self.created_at).total_seconds() // 60), 0)


def executed(event: object) -> Executed | None:
    """What an order event says is filled; None when that is nothing, or not readable."""
    try:
        order = event["order"]  # type: ignore[index]  # any JSON may arrive
        average_price = order["average_price"] or event["market_conditions"]["price"]  # type: ignore[index]
        return Executed(
            order_id=str(order["order_id"]),
            symbol=str(order["asset"]),
            side="Buy" if str(order["side"]).lower() == "buy" else "SELL",
            quantity=_positive(order["filled_quantity"]),
            average_price=_positive(average_price),
        )
    except (KeyError, TypeError, ValueError, InvalidOperation):
        return None


def news(now: Executed, booked: Booked) -> Fill | None:
    """The part that is not booked yet; events are cumulative, may repeat and may skip parts."""
    quantity = now.quantity - booked.quantity
    if quantity <= 0:
        return None
    price = (now.notional - booked.notional) / quantity
    return Fill(change=signed(now.side, quantity), price=price)


def after_fill(position: Position, fill: Fill, now: datetime) -> Position:
    """The position once `fill` is booked; one beyond its size closes it and opens the other side."""
    size, entry = position.size, position.average_entry_price or ZERO
    after = (size + fill.change).quantize(QUANTUM)
    is_reducing = size * fill.change < 0
    closing = min(abs(fill.change), abs(size)) if is_reducing else ZERO
    gained = closing * (fill.price - entry) * (1 if size > 0 else -1)
    if not is_reducing:
        entry = (abs(size) * entry + abs(fill.change) * fill.price) / abs(after)
    elif after * size < 0:
        entry = fill.price
    return msgspec.structs.replace(
        position,
        size=after,
        average_entry_price=entry.quantize(QUANTUM) if after else None,
        realized_pnl=(position.realized_pnl + gained).quantize(QUANTUM),
        version=position.version + 1,
        last_updated=now,
        closed_at=None if after else now,
    )


def position_updated(position: Position, now: datetime) -> dict[str, Any]:
    """The message after a fill: no price in it, pnl as it was stored, never a trace id."""
    return {
        "event_type": "position_updated",
        "position_id": str(position.id),
        "asset": position.symbol,
        "size": str(position.size),
        "unrealized_pnl": str(position.unrealized_pnl),
        "realized_pnl": str(position.realized_pnl),
        "mode": position.mode,
        "unrealized_pnl_pct": _text_or_null(position.unrealized_pnl_pct),
        "time_held_minutes": position.minutes_held(now),
        "position_size_norm": None,
        "update_source": "order_execution",
        "trace_id": None,
        "timestamp": now.isoformat(timespec="microseconds"),
    }


def shown(position: Position, now: datetime) -> dict[str, Any]:
    """One position as REST shows it."""
    return {
        "id": str(position.id),
        "asset": position.symbol,
        "mode": position.mode,
        "size": str(position.size),
        "average_entry_price": _text_or_null(position.average_entry_price),
        "current_price": _text_or_null(position.current_price),
        "unrealized_pnl": str(position.unrealized_pnl),
        "realized_pnl": str(position.realized_pnl),
        "long_size": _text_or_null(position.long_size),
        "short_size": _text_or_null(position.short_size),
        "version": position.version,
        "last_updated": _zulu(position.last_updated),
        "closed_at": None if position.closed_at is None else _zulu(position.closed_at),
        "created_at": _zulu(position.created_at),
        "unrealized_pnl_pct": _text_or_null(position.unrealized_pnl_pct),
        "time_held_minutes": position.minutes_held(now),
    }


def portfolio(positions: Sequence[Position], now: datetime) -> dict[str, Any]:
    """All open positions together, in plain numbers; realized pnl counts the closed ones too."""
    held = [position for position in positions if position.size]
    exposure = sum((position.exposure_quote for position in held), ZERO)
    net = sum(
        (position.exposure_quote if position.size > 0 else -position.exposure_quote for position in held),
        ZERO,
    )
    return {
        "total_exposure_usdt": _number(exposure),
        "total_unrealized_pnl_usdt": _number(sum((each.unrealized_pnl for each in held), ZERO)),
        "total_realized_pnl_usdt": _number(sum((each.realized_pnl for each in positions), ZERO)),
        "portfolio_value_usdt": _number(exposure),
        "open_positions_count": len(held),
        "long_positions_count": sum(position.size > 0 for position in held),
        "short_positions_count": sum(position.size < 0 for position in held),
        "net_exposure_usdt": _number(net),
        "by_asset": {
            position.symbol: {
                "exposure_usdt": _number(position.exposure_quote),
                "unrealized_pnl_usdt": _number(position.unrealized_pnl),
                "realized_pnl_usdt": _number(position.realized_pnl),
                "size": _number(position.size),
            }
            for position in sorted(held, key=lambda each: each.symbol)
        },
        "calculated_at": _naive(now),
        "limit_exceeded": False,
    }


def exposure(positions: Sequence[Position], now: datetime) -> dict[str, Any]:
    """The total of the open positions' exposure."""
    return {
        "total_exposure_usdt": portfolio(positions, now)["total_exposure_usdt"],
        "calculated_at": _naive(now),
    }


def pnl(positions: Sequence[Position], now: datetime) -> dict[str, Any]:
    """Profits, stored and realized."""
    unrealized = sum((each.unrealized_pnl for each in positions if each.size), ZERO)
    realized = sum((each.realized_pnl for each in positions), ZERO)
    return {
        "total_unrealized_pnl_usdt": _number(unrealized),
        "total_realized_pnl_usdt": _number(realized),
        "total_pnl_usdt": _number(unrealized + realized),
        "calculated_at": _naive(now),
    }


def _positive(value: object) -> Decimal:
    number = Decimal(str(value)).quantize(QUANTUM)
    if not number > 0:
        raise ValueError
    return number


def _text_or_null(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _number(value: Decimal) -> int | float:
    return int(value) if value == int(value) else float(value)


def _zulu(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _naive(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
