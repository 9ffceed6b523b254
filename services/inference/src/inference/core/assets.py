"""Which pairs are worth trading with the balances at hand.

A pair is chosen where there is enough of its quote coin to buy with, or enough of its base coin to sell. The
quote coin must be one of the operator's in either case. Values are USDT; a coin that nothing prices is not
counted, and is named.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

AT_PAR = ("USDT", "USDC", "BUSD")
"""Coins that count as one USDT each."""

Why = Literal["quote", "base"]


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol, and what it exchanges."""

    symbol: str
    base_coin: str
    quote_coin: str


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """The newest balance of a coin, in units of the coin."""

    wallet: Decimal
    """With what is locked in orders."""
    free: Decimal


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a pair must have to be chosen."""

    quote_coins: tuple[str, ...]
    min_value_usdt: Decimal


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A chosen pair and the balance that decided."""

    symbol: str
    why: Why
    coin: str
    balance: Decimal
    """In units of `coin`: what is free of a quote coin, what is held of a base coin."""
    value_usdt: Decimal


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What was chosen, sorted by symbol."""

    chosen: tuple[Chosen, ...]
    unpriced: tuple[str, ...]
    """Coins with a balance that was not counted: nothing says what they are worth."""

    @property
    def symbols(self) -> frozenset[str]:
        """The chosen symbols."""
        return frozenset(each.symbol for each in self.chosen)


def choose(
    pairs: Sequence[Pair],
    holdings: Mapping[str, Holding],
    prices: Mapping[str, Decimal],
    wanted: Wanted,
) -> Choice:
    """The pairs worth trading. `prices` by symbol, in units of the pair's quote coin."""
    eligible = [pair for pair in pairs if pair.quote_coin in wanted.quote_coins]
    worth = _worth_usdt(pairs, prices)
    found = (_chosen(pair, holdings, worth, wanted) for pair in eligible)
    coins = {coin for pair in eligible for coin in (pair.base_coin, pair.quote_coin)}
    held = {coin for coin in coins if coin in holdings and holdings[coin].wallet > 0}
    return Choice(
        chosen=tuple(sorted((each for each in found if each), key=lambda each: each.symbol)),
        unpriced=tuple(sorted(held - worth.keys())),
    )


def _chosen(
    pair: Pair, holdings: Mapping[str, Holding], worth: Mapping[str, Decimal], wanted: Wanted
) -> Chosen | None:
    quote, base = holdings.get(pair.quote_coin), holdings.get(pair.base_coin)
    candidates: tuple[tuple[Why, str, Decimal | None], ...] = (
        ("quote", pair.quote_coin, quote.free if quote else None),
        ("base", pair.base_coin, base.wallet if base else None),
    )
    for why, coin, balance in candidates:
        if balance is None or coin not in worth:
            continue
        value = balance * worth[coin]
        # A minimum of 0 means any balance, not none.
        if value > 0 and value >= wanted.min_value_usdt:
            return Chosen(symbol=pair.symbol, why=why, coin=coin, balance=balance, value_usdt=value)
    return None


# Direct prices only: against a coin at par, USDT before the others.
def _worth_usdt(pairs: Sequence[Pair], prices: Mapping[str, Decimal]) -> dict[str, Decimal]:
    worth = dict.fromkeys(AT_PAR, Decimal(1))
    for par in AT_PAR:
        for pair in pairs:
            price = prices.get(pair.symbol)
            if pair.quote_coin == par and price is not None and price > 0:
                worth.setdefault(pair.base_coin, price)
    return worth
