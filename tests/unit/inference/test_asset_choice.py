from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.assets import Choice, Holding, Pair, Wanted, choose

PAIRS = [
    Pair(symbol="BTCUSDT", base_coin="BTC", quote_coin="USDT"),
    Pair(symbol="ETHUSDT", base_coin="ETH", quote_coin="USDT"),
    Pair(symbol="ETHUSDC", base_coin="ETH", quote_coin="USDC"),
    Pair(symbol="ETHBTC", base_coin="ETH", quote_coin="BTC"),
    Pair(symbol="DOGEEUR", base_coin="DOGE", quote_coin="EUR"),
]
PRICES = {"BTCUSDT": Decimal(60_000), "ETHUSDT": Decimal(3_000)}
WANTED = Wanted(quote_coins=("USDT", "USDC"), min_value_usdt=Decimal(10))


def holds(**coins):
    return {
        coin: Holding(wallet=Decimal(wallet), free=Decimal(free)) for coin, (wallet, free) in coins.items()
    }


def same(amount):
    return (amount, amount)


@pytest.mark.parametrize(
    ("holdings", "symbols"),
    [
        ({}, set()),
        (holds(USDT=same("10")), {"BTCUSDT", "ETHUSDT"}),
        (holds(USDT=same("9.99999999")), set()),
        (holds(USDT=("500", "5")), set()),
        (holds(USDC=same("50")), {"ETHUSDC"}),
        (holds(BTC=same("0.0002")), {"BTCUSDT"}),
        (holds(BTC=same("0.0001")), set()),
        (holds(BTC=("0.0002", "0")), {"BTCUSDT"}),
        (holds(ETH=same("1")), {"ETHUSDT", "ETHUSDC"}),
        (holds(EUR=same("500"), DOGE=same("1000")), set()),
        (holds(USDT=same("-20")), set()),
    ],
)
def test_a_pair_is_chosen_for_what_is_free_to_buy_with_or_held_to_sell(holdings, symbols):
    assert choose(PAIRS, holdings, PRICES, WANTED).symbols == symbols


def test_a_choice_names_the_balance_that_decided():
    [chosen] = choose(PAIRS, holds(BTC=same("0.5")), PRICES, WANTED).chosen

    assert (chosen.why, chosen.coin, chosen.balance) == ("base", "BTC", Decimal("0.5"))
    assert chosen.value_usdt == 30_000


def test_a_coin_without_a_price_is_not_counted_and_named():
    choice = choose(PAIRS, holds(BTC=same("5"), ETH=same("5")), {"ETHUSDC": Decimal(3_000)}, WANTED)

    assert choice.symbols == {"ETHUSDT", "ETHUSDC"}
    assert choice.unpriced == ("BTC",)


def test_a_price_in_another_coin_is_no_price_in_dollars():
    choice = choose(PAIRS, holds(ETH=same("100")), {"ETHBTC": Decimal("0.05")}, WANTED)

    assert choice == Choice(chosen=(), unpriced=("ETH",))


def test_the_price_in_usdt_counts_before_the_one_in_usdc():
    prices = {"ETHUSDT": Decimal(3_000), "ETHUSDC": Decimal(1)}

    [chosen, _] = choose(PAIRS, holds(ETH=same("1")), prices, WANTED).chosen

    assert chosen.value_usdt == 3_000


def test_a_quote_coin_that_is_no_dollar_counts_at_its_price():
    in_btc = Wanted(quote_coins=("BTC",), min_value_usdt=Decimal(100))

    assert choose(PAIRS, holds(BTC=same("0.01")), PRICES, in_btc).symbols == {"ETHBTC"}
    assert choose(PAIRS, holds(BTC=same("0.001")), PRICES, in_btc).symbols == set()
    assert choose(PAIRS, holds(BTC=same("0.01")), {}, in_btc) == Choice(chosen=(), unpriced=("BTC",))


def test_a_minimum_of_nothing_still_asks_for_a_balance():
    anything = Wanted(quote_coins=("USDT",), min_value_usdt=Decimal(0))

    assert choose(PAIRS, holds(USDT=same("0")), PRICES, anything).symbols == set()
    assert choose(PAIRS, holds(USDT=same("0.01")), PRICES, anything).symbols == {"BTCUSDT", "ETHUSDT"}


AMOUNTS = st.decimals(min_value=0, max_value=1_000, places=4)
HOLDINGS = st.dictionaries(
    st.sampled_from(["USDT", "USDC", "BTC", "ETH", "DOGE", "EUR"]),
    st.builds(
        lambda wallet, part: Holding(wallet=wallet, free=wallet * part), AMOUNTS, st.just(Decimal("0.5"))
    ),
)


@given(HOLDINGS, st.permutations(PAIRS), AMOUNTS)
def test_every_chosen_pair_is_worth_it_and_more_balance_never_loses_one(holdings, pairs, more):
    choice = choose(pairs, holdings, PRICES, WANTED)

    assert choice == choose(PAIRS, holdings, PRICES, WANTED)
    assert all(each.value_usdt >= 10 for each in choice.chosen)
    richer = {
        coin: Holding(wallet=each.wallet + more, free=each.free + more) for coin, each in holdings.items()
    }
    assert choice.symbols <= choose(pairs, richer, PRICES, WANTED).symbols
