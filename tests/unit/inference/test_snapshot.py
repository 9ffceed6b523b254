import math
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from tests.unit.inference.cases import NOW, screening, vector

from common.messages import MarketSnapshot
from inference.core.reasons import Reason, Skip
from inference.core.screening import screen
from inference.core.snapshot import KnownPrice, SnapshotFeatures, snapshot_features, snapshot_of
from inference.core.vector_gates import price as price_gate


def bare(**features):
    made = vector()
    made.features.clear()
    made.features.update(features)
    return made


def known(price="50", age_s=1.0):
    return KnownPrice(price=Decimal(price), at=NOW - timedelta(seconds=age_s))


def screened(of, **changes):
    return screen(msgspec.structs.replace(screening(of), **changes))


@pytest.mark.parametrize(
    ("features", "fields"),
    [
        ({}, {}),
        ({"spread_rel": 0.0004}, {"spread": pytest.approx(0.04)}),
        ({"spread_rel": -0.0004}, {}),
        ({"volatility_5m": 0.1, "volatility_1m": 0.2}, {"volatility": 0.1}),
        ({"volatility_1m": 0.2}, {"volatility": 0.2}),
        ({"volatility_5m": -0.1}, {}),
        ({"volume_24h": 9.0}, {}),
    ],
)
def test_market_fields_come_from_the_registrys_names_and_are_null_where_it_has_none(features, fields):
    assert snapshot_of(bare(mid_price=100.0, **features)) == MarketSnapshot(price=100.0, **fields)


def test_an_operator_may_name_other_features():
    names = snapshot_features(("price:close|last", "spread:", "volume_24h:turnover"))
    of = bare(last=7.0, spread_rel=0.1, volatility_1m=0.2, turnover=3.0)

    assert snapshot_of(of, names) == MarketSnapshot(price=7.0, volume_24h=3.0, volatility=0.2)
    assert snapshot_features(()) == SnapshotFeatures()


@pytest.mark.parametrize("pair", ["price", "cost:mid_price", "price:", "price:|"])
def test_what_names_no_market_field_is_refused(pair):
    with pytest.raises(ValueError, match="price"):
        snapshot_features((pair,))


@pytest.mark.parametrize(
    ("features", "known_price", "price"),
    [
        ({"mid_price": 100.0}, known(), 100.0),
        ({"returns_1m": 0.1}, known(), 50.0),
        ({"returns_1m": 0.1}, known(age_s=60), 50.0),
        ({"returns_1m": 0.1}, known(age_s=60.1), None),
        ({"returns_1m": 0.1}, known(age_s=-2), 50.0),
        ({"returns_1m": 0.1}, known(age_s=-2.1), None),
        ({"returns_1m": 0.1}, known("0"), None),
        ({"returns_1m": 0.1}, known("0.5"), 0.5),
        ({"returns_1m": 0.1}, None, None),
        ({"mid_price": 0.0}, known(), None),
        ({"returns_1m": 0.1, "depth_bid_top5": 0.0}, known(), None),
        ({"returns_1m": 0.1, "depth_bid_top5": 0.001}, known(), 50.0),
    ],
)
def test_a_price_from_elsewhere_counts_only_where_the_vector_has_none_and_while_it_is_recent(
    features, known_price, price
):
    outcome = screened(bare(**features), known_price=known_price)

    if price is None:
        assert isinstance(outcome, Skip)
        assert outcome.reason is Reason.NO_PRICE
    else:
        assert outcome.price == price


@pytest.mark.parametrize(
    ("features", "known_price", "figures"),
    [
        ({"mid_price": -1.0, "depth_bid_top5": 2.0}, None, {"price": -1.0, "depth": 2.0}),
        (
            {"depth_bid_top5": 2.0},
            known("5E+1", age_s=61),
            {"price": None, "depth": 2.0, "known_price": "50", "known_age_s": 61.0},
        ),
        # A price of the vector's own comes first, however wrong it is.
        ({"mid_price": -1.0}, known(), {"price": -1.0, "depth": None}),
    ],
)
def test_a_vector_without_a_price_is_skipped_with_the_figures_that_were_looked_at(
    features, known_price, figures
):
    of = msgspec.structs.replace(screening(bare(**features)), known_price=known_price)

    assert price_gate(of).facts == figures


def test_depth_is_asked_of_the_feature_that_the_operator_names():
    names = snapshot_features(("depth:bids",))

    assert screened(bare(mid_price=1.0, bids=0.0), snapshot_features=names).reason is Reason.NO_PRICE
    assert screened(bare(mid_price=1.0, depth_bid_top5=0.0), snapshot_features=names).price == 1.0


def test_without_any_price_there_is_no_snapshot():
    with pytest.raises(KeyError):
        snapshot_of(bare(returns_1m=math.pi))
