"""Paper money: what a fill does to the balance and to the position of its symbol.

Linear contracts in one-way mode at a margin of 1x: opening locks the notional at entry, closing releases it
with the profit. For a long that is what spot trading would do: a buy costs notional + fee, a sell brings
notional - fee. Every fill moves wallet plus position value by exactly its fee; nothing else makes money.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from sandbox.core.order_rules import ZERO, Side, ceil_to_step, floor_to_step, signed

QUANTUM = Decimal("0.00000001")


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """A position: signed `size` in base units, `margin_quote` = the notional locked when it was opened."""

    size: Decimal = ZERO
    margin_quote: Decimal = ZERO

    @property
    def average_entry_price(self) -> Decimal | None:
        """Quote currency per unit, None when there is no position."""
        return self.margin_quote / abs(self.size) if self.size else None

    def value_quote(self, price: Decimal) -> Decimal:
        """What closing at `price` would release, before the fee."""
        worth = abs(self.size) * price
        return worth if self.size > 0 else 2 * self.margin_quote - worth


NOTHING = Holding()


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Free quote currency and the position of each symbol."""

    wallet_quote: Decimal
    holdings: Mapping[str, Holding] = {}

    def holding(self, symbol: str) -> Holding:
        """The position in `symbol`, of size 0 when there is none."""
        return self.holdings.get(symbol, NOTHING)

    @property
    def margin_quote(self) -> Decimal:
        """Locked in all positions."""
        return sum((holding.margin_quote for holding in self.holdings.values()), ZERO)


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """A trade that happened: base units at quote currency per unit."""

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee_quote: Decimal


def after_fill(account: Account, fill: Fill) -> Account:
    """The account once `fill` is booked; a fill beyond the position closes it and opens the other side."""
    before = account.holding(fill.symbol)
    change = signed(fill.side, fill.quantity)
    closing = min(fill.quantity, abs(before.size)) if before.size * change < 0 else ZERO
    opening = fill.quantity - closing
    is_closed = closing == abs(before.size)  # then nothing may stay locked, not even a rounding
    released = before.margin_quote if is_closed else before.margin_quote * closing / abs(before.size)
    proceeds = closing * fill.price if before.size > 0 else 2 * released - closing * fill.price
    locked = opening * fill.price
    after = Holding(size=before.size + change, margin_quote=before.margin_quote - released + locked)
    return Account(
        wallet_quote=account.wallet_quote + proceeds - locked - fill.fee_quote,
        holdings={**account.holdings, fill.symbol: after},
    )


def market_price(
    side: Side, mid: Decimal, spread_rel: Decimal, slippage_rate: Decimal, tick: Decimal
) -> Decimal:
    """What a market order pays: mid plus half the spread plus slippage against it, on the worse tick."""
    distance = spread_rel / 2 + slippage_rate
    if side == "Buy":
        return ceil_to_step(mid * (1 + distance), tick)
    return max(floor_to_step(mid * (1 - distance), tick), tick)


def fee(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """The exchange's fee in quote currency, to 8 decimals."""
    return (quantity * price * rate).quantize(QUANTUM, ROUND_HALF_EVEN)
