from datetime import UTC, datetime
from decimal import Decimal

import pytest
from tests.unit.inference.test_alignment import FULL, MODEL, without

from common.errors import TryAgain
from common.messages import FeatureVector
from common.position_manager import Position
from inference.core.alignment import align
from inference.core.snapshot import KnownPrice, SnapshotFeatures
from inference.lacked_features import LACKED, LackedFeatures
from inference.live_vectors import LiveVectors, LiveVectorsLimits
from inference.position_prices import PositionPrices

BOOKED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Manager:
    """The Position Manager's list, and how often it was asked."""

    def __init__(self):
        self.asked = 0
        self.answers = True

    async def positions(self):
        self.asked += 1
        if not self.answers:
            raise TryAgain("the Position Manager sleeps")
        return [
            Position(symbol="BTCUSDT", size=Decimal(1), current_price=Decimal(50), last_updated=BOOKED_AT),
            Position(symbol="ETHUSDT", size=Decimal(1), last_updated=BOOKED_AT),
        ]


@pytest.fixture
def live():
    return LiveVectors(LiveVectorsLimits(ttl_s=30, silence_s=5, max_age_s=60))


def note(live, symbol, **features):
    live.note(
        FeatureVector(
            timestamp=datetime.now(UTC),
            symbol=symbol,
            features=features,
            feature_registry_version="2.0.0",
        )
    )


async def test_a_position_prices_what_its_vectors_do_not(live):
    manager = Manager()
    prices = PositionPrices(manager.positions, live, SnapshotFeatures())
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        note(live, symbol, returns_1m=0.1)
        assert prices.of(symbol) is None

    await prices.refresh()

    assert prices.of("BTCUSDT") == KnownPrice(price=Decimal(50), at=BOOKED_AT)
    assert prices.of("ETHUSDT") is None
    assert prices.of("SOLUSDT") is None


async def test_nobody_is_asked_while_vectors_carry_their_price(live):
    manager = Manager()
    prices = PositionPrices(manager.positions, live, SnapshotFeatures())
    note(live, "BTCUSDT", mid_price=100.0)

    assert prices.of("BTCUSDT") is None
    assert prices.of("NEVERUSDT") is None
    await prices.refresh()

    assert manager.asked == 0


async def test_a_position_manager_that_does_not_answer_is_said_and_asked_again(live, capsys):
    manager = Manager()
    manager.answers = False
    prices = PositionPrices(manager.positions, live, SnapshotFeatures())
    note(live, "BTCUSDT", returns_1m=0.1)
    for _ in range(2):
        prices.of("BTCUSDT")
        await prices.refresh()

    assert manager.asked == 2
    assert prices.of("BTCUSDT") is None
    assert "position not read" in capsys.readouterr().out


def test_an_optional_feature_that_is_missing_is_said_on_change_and_counted_always(capsys):
    lacked = LackedFeatures()
    counted = LACKED.labels("f1")._value.get()
    whole, part = align(without(), MODEL), align(without("f1"), MODEL)

    for row in (whole, part, part, whole, whole, part):
        lacked.note("BTCUSDT", MODEL, row)
    lacked.note("ETHUSDT", MODEL, whole)

    out = capsys.readouterr().out
    assert out.count("optional features lacked") == 3
    assert out.count("missing=['f1']") == 2
    assert LACKED.labels("f1")._value.get() - counted == 3
    assert len(FULL) == len(whole)
