from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from common.errors import TryAgain
from common.messages import FeatureVector
from common.position_manager import Position
from exit_strategy.prices import AskedPrices

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Features:
    """Answers with the given features, stamped with the moment of asking as the real one does."""

    def __init__(self, features):
        self.features = features
        self.now = NOW

    async def latest(self, symbol):
        if self.features is None:
            raise TryAgain("deaf during a build")
        return FeatureVector(
            timestamp=self.now, symbol=symbol, features=self.features, feature_registry_version="1.0.0"
        )


class Positions:
    """A Position Manager that holds `booked`; None: nothing."""

    booked = None

    async def position(self, symbol):
        return self.booked


async def asked(prices, features, after_s, **changed):
    features.now = NOW + timedelta(seconds=after_s)
    features.features = {**features.features, **changed, "time_of_day_sin": after_s / 100}
    return (await prices.latest("BTCUSDT", features.now)).value


async def test_the_price_is_the_mid_price_to_its_last_digit():
    prices = AskedPrices(Features({"mid_price": 0.1}), Positions(), timedelta(seconds=60))

    price = await prices.latest("BTCUSDT", NOW)

    assert (price.value, price.seen_at, price.source) == (Decimal("0.1"), NOW, "features_latest")


@pytest.mark.parametrize("features", [{}, None])
async def test_without_an_answer_or_a_price_in_it_there_is_no_price(features):
    prices = AskedPrices(Features(features), Positions(), timedelta(seconds=60))

    assert (await prices.latest("BTCUSDT", NOW)).value is None


async def test_a_market_that_stands_still_has_no_price_until_it_moves():
    features = Features({"mid_price": 100.0, "volume_3s": 1.0})
    prices = AskedPrices(features, Positions(), timedelta(seconds=60))

    assert await asked(prices, features, 0) == 100
    assert await asked(prices, features, 59) == 100
    assert await asked(prices, features, 60) is None
    assert await asked(prices, features, 61, volume_3s=2.0) == 100


async def test_what_is_not_kept_starts_anew():
    features = Features({"mid_price": 100.0})
    prices = AskedPrices(features, Positions(), timedelta(seconds=60))
    await asked(prices, features, 0)

    prices.keep(set())

    assert await asked(prices, features, 60) == 100


@pytest.mark.parametrize(("age_s", "price"), [(10, Decimal(99)), (61, None)])
async def test_without_the_feature_service_a_recent_price_of_the_position_manager_counts(age_s, price):
    positions = Positions()
    positions.booked = Position(
        symbol="BTCUSDT",
        size=Decimal(1),
        current_price=Decimal(99),
        last_updated=NOW - timedelta(seconds=age_s),
    )
    prices = AskedPrices(Features(None), positions, timedelta(seconds=60))

    found = await prices.latest("BTCUSDT", NOW)

    assert found.value == price
    assert (found.source == "position_manager") == (price is not None)
    assert (prices.cause("BTCUSDT") == "nobody was asked for a price yet") == (price is not None)
