from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.core.order_rules import Side, signed
from sandbox.core.paper_account import Account, Fill, Holding, after_fill, fee, market_price

START = Decimal(100_000)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
prices = st.decimals("0.01", "100000", places=2)
fills = st.builds(
    lambda symbol, side, quantity, price: Fill(
        symbol=symbol,
        side=side,
        quantity=quantity,
        price=price,
        fee_quote=fee(quantity, price, Decimal("0.001")),
    ),
    st.sampled_from(SYMBOLS),
    st.sampled_from(["Buy", "SELL"]),
    st.decimals("0.001", "5", places=3),
    prices,
)


def fill(side: Side, quantity: str, price: str, fee_quote: str = "0") -> Fill:
    return Fill(
        symbol="BTCUSDT",
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        fee_quote=Decimal(fee_quote),
    )


def after(*booked: Fill) -> Account:
    account = Account(wallet_quote=START)
    for each in booked:
        account = after_fill(account, each)
    return account


@given(st.lists(fills, max_size=12), prices, prices)
def test_wallet_plus_positions_is_what_trading_made_less_the_fees(booked, btc, eth):
    marks = dict(zip(SYMBOLS, (btc, eth), strict=True))

    account = after(*booked)

    equity = account.wallet_quote + sum(
        holding.value_quote(marks[symbol]) for symbol, holding in account.holdings.items()
    )
    made = sum(signed(each.side, each.quantity) * (marks[each.symbol] - each.price) for each in booked)
    fees = sum(each.fee_quote for each in booked)
    assert abs(equity - (START + made - fees)) < Decimal("1e-12")


@given(st.lists(fills, max_size=12), fills)
def test_a_fill_moves_wallet_plus_position_value_by_exactly_its_fee(booked, last):
    before = after(*booked)

    now = after_fill(before, last)

    def worth(account: Account) -> Decimal:
        return account.wallet_quote + account.holding(last.symbol).value_quote(last.price)

    assert abs(worth(before) - worth(now) - last.fee_quote) < Decimal("1e-12")


@given(st.lists(fills, max_size=12))
def test_margin_is_locked_exactly_while_there_is_a_position(booked):
    holding = after(*booked).holding("BTCUSDT")

    assert (holding.margin_quote > 0) == (holding.size != 0)


@pytest.mark.parametrize(
    ("booked", "wallet", "size", "entry"),
    [
        ([fill("Buy", "1", "100", "0.1")], "99899.9", "1", "100"),
        ([fill("Buy", "1", "100"), fill("Buy", "3", "200")], "99300", "4", "175"),
        ([fill("Buy", "2", "100"), fill("SELL", "1", "110", "0.1")], "99909.9", "1", "100"),
        ([fill("Buy", "1", "100"), fill("SELL", "1", "90")], "99990", "0", None),
        ([fill("SELL", "1", "100")], "99900", "-1", "100"),  # a short locks its margin, it brings no cash
        ([fill("SELL", "1", "100"), fill("Buy", "1", "90")], "100010", "0", None),
        ([fill("SELL", "1", "100"), fill("Buy", "1", "110")], "99990", "0", None),
        ([fill("Buy", "1", "100"), fill("SELL", "3", "110")], "99790", "-2", "110"),  # flipped
    ],
)
def test_balance_and_entry_price_follow_the_fills(booked, wallet, size, entry):
    account = after(*booked)

    holding = account.holding("BTCUSDT")
    assert account.wallet_quote == Decimal(wallet)
    assert holding.size == Decimal(size)
    assert holding.average_entry_price == (None if entry is None else Decimal(entry))


def test_no_position_is_worth_nothing():
    assert Holding().value_quote(Decimal(100)) == 0


def test_a_market_order_pays_half_the_spread_and_slippage_on_the_worse_tick():
    terms = (Decimal(100), Decimal("0.001"), Decimal("0.0005"), Decimal("0.03"))

    assert market_price("Buy", *terms) == Decimal("100.11")  # 100.10 lies between two ticks
    assert market_price("SELL", *terms) == Decimal("99.90")
