import math
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.inference.cases import vector

from inference.core.alignment import align
from inference.core.model import Model, ModelPolicy, propose
from inference.core.reasons import Reason, Skip
from inference.core.warmup import Proposal

MODEL = Model(
    version="v3",
    sha256="ab" * 32,
    symbol="BTCUSDT",
    features=("spread_rel", "returns_1m", "extra"),
    optional_features=frozenset({"extra"}),
    labels=(-1, 0, 1),
    threshold=0.5,
    calibration=(),
    feature_registry_version="1.0.0",
)
POLICY = ModelPolicy(
    min_amount_quote=Decimal(100),
    max_amount_quote=Decimal(300),
    probability_lead=0.05,
    confidence_threshold=None,
)


def model(**changes):
    return msgspec.structs.replace(MODEL, **changes)


def test_a_row_has_the_manifests_order_whatever_the_vectors():
    assert align(vector(extra=7.0), MODEL) == (0.0004, 0.001, 7.0)


def test_more_features_than_the_model_knows_are_ignored():
    assert align(vector(extra=7.0, another=1.0), MODEL) == align(vector(extra=7.0), MODEL)


def test_an_optional_feature_may_be_missing_where_enough_others_are_there():
    many = model(features=(*(f"f{n}" for n in range(10)), "extra"))

    row = align(vector(**{f"f{n}": float(n) for n in range(10)}), many)

    assert isinstance(row, tuple)
    assert math.isnan(row[-1])


@pytest.mark.parametrize(
    ("changed", "reason", "fact"),
    [
        ({"features": ("returns_1m", "never_seen")}, Reason.FEATURES_MISSING, ["never_seen"]),
        ({}, Reason.FEATURES_MISSING, ["extra"]),
        ({"feature_registry_version": "2.0.0"}, Reason.REGISTRY_MISMATCH, "2.0.0"),
        ({"symbol": "ETHUSDT"}, Reason.MODEL_OF_ANOTHER_SYMBOL, "ETHUSDT"),
    ],
)
def test_a_vector_that_does_not_fit_is_a_reason_never_a_guess(changed, reason, fact):
    outcome = align(vector(), model(**changed))

    assert isinstance(outcome, Skip)
    assert outcome.reason is reason
    assert fact in outcome.facts.values()


@pytest.mark.parametrize(
    ("probabilities", "outcome"),
    [
        ((0.1, 0.3, 0.6), "buy"),
        ((0.6, 0.3, 0.1), "sell"),
        ((0.1, 0.4, 0.5), "buy"),
        ((0.1, 0.41, 0.49), Reason.HOLD),
        ((0.1, 0.8, 0.1), Reason.HOLD),
        ((0.48, 0.0, 0.52), Reason.HOLD),
        ((0.47, 0.0, 0.53), "buy"),
        ((math.nan, math.nan, math.nan), Reason.HOLD),
        ((0.2, 0.2, math.nan), Reason.HOLD),
    ],
)
def test_a_side_is_taken_when_it_is_probable_enough_and_leads(probabilities, outcome):
    proposed = propose(probabilities, MODEL, POLICY)

    assert (proposed.side if isinstance(proposed, Proposal) else proposed.reason) == outcome


def test_class_indices_mean_what_the_manifest_says():
    turned = model(labels=(1, 0, -1))

    assert propose((0.6, 0.3, 0.1), turned, POLICY).side == "buy"


def test_the_amount_grows_with_sureness_between_its_bounds():
    amounts = [propose((0.0, 1 - p, p), MODEL, POLICY).requested_quote for p in (0.5, 0.75, 1.0)]

    assert amounts == [100, 200, 300]


def test_an_operators_threshold_raises_the_versions_and_never_lowers_it():
    higher = msgspec.structs.replace(POLICY, confidence_threshold=0.9)
    lower = msgspec.structs.replace(POLICY, confidence_threshold=0.1)

    assert isinstance(propose((0.1, 0.1, 0.8), MODEL, higher), Skip)
    assert isinstance(propose((0.1, 0.5, 0.4), MODEL, lower), Skip)


def test_probabilities_are_calibrated_by_the_versions_own_table():
    humble = model(calibration=(((0.0, 0.0), (1.0, 0.5)), ((0.0, 0.0), (1.0, 1.0)), ((0.0, 0.0), (1.0, 0.2))))

    proposed = propose((0.1, 0.2, 0.7), humble, POLICY)

    assert isinstance(proposed, Skip)
    assert proposed.facts["probabilities"] == {"-1": 0.128205, "0": 0.512821, "1": 0.358974}


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=3, max_size=3))
def test_whatever_the_probabilities_the_amount_stays_within_its_bounds(raw):
    proposed = propose(raw, MODEL, POLICY)

    if isinstance(proposed, Proposal):
        assert 100 <= proposed.requested_quote <= 300
        assert 0.5 <= proposed.confidence <= 1
