import math
from decimal import Decimal

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.core.calibration import calibrate
from common.messages import MarketSnapshot
from inference.core import model as core_model
from inference.core.model import Model, ModelPolicy
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
    horizon_s=60.0,
)
POLICY = ModelPolicy(
    min_amount_quote=Decimal(100),
    max_amount_quote=Decimal(300),
    probability_lead=0.05,
    confidence_threshold=None,
    cost_aware=False,
    round_trip_rate=0.003,
)
SNAPSHOT = MarketSnapshot(price=100.0, spread=0.04)
REGRESSION = msgspec.structs.replace(
    MODEL,
    task="regression",
    labels=(),
    threshold=0.5,
    sign_confidence=((0.0, 0.5), (0.01, 0.7), (0.02, 0.8)),
)
RISK_ADJUSTED = msgspec.structs.replace(
    REGRESSION, volatility_feature="volatility_5m", sign_confidence=((0.0, 0.5), (4.0, 0.9))
)
COSTS = 0.003 + 0.0004
"""Fees and slippage twice, and the snapshot's spread of 0.04 %."""


def model(**changes):
    return msgspec.structs.replace(MODEL, **changes)


def operator(**changes):
    return msgspec.structs.replace(POLICY, **changes)


def propose(answer, of=MODEL, policy=POLICY, snapshot=SNAPSHOT, **features):
    return core_model.propose(answer, of, policy, snapshot, features)


def outcome_of(proposed):
    return proposed.side if isinstance(proposed, Proposal) else proposed.reason


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
        ((0.2, math.nan, 0.8), Reason.HOLD),
        ((0.0, 0.0, math.inf), Reason.HOLD),
    ],
)
def test_a_side_is_taken_when_it_is_probable_enough_and_leads(probabilities, outcome):
    assert outcome_of(propose(probabilities)) == outcome


@pytest.mark.parametrize(
    ("labels", "probabilities", "outcome"),
    [
        ((1, 0, -1), (0.6, 0.3, 0.1), "buy"),
        ((-1, 1), (0.4, 0.6), "buy"),
        ((-1, 1), (0.6, 0.4), "sell"),
        ((0, 1), (0.3, 0.7), "buy"),
        ((0, 1), (0.7, 0.3), Reason.HOLD),
        ((-1, 0), (0.7, 0.3), "sell"),
        ((-1, 0), (0.3, 0.7), Reason.HOLD),
    ],
)
def test_classes_mean_what_the_manifest_says_and_an_absent_one_has_probability_zero(
    labels, probabilities, outcome
):
    assert outcome_of(propose(probabilities, model(labels=labels))) == outcome


def test_a_lead_is_enough_at_its_limit():
    assert outcome_of(propose((0.25, 0.25, 0.5), policy=operator(probability_lead=0.25))) == "buy"


def test_two_sides_as_probable_as_each_other_are_no_direction_even_without_a_lead():
    assert propose((0.5, 0.0, 0.5), policy=operator(probability_lead=0.0)).reason is Reason.HOLD


def test_the_amount_grows_with_sureness_between_its_bounds():
    amounts = [propose((0.0, 1 - p, p)).requested_quote for p in (0.5, 0.75, 1.0)]

    assert amounts == [100, 200, 300]


def test_an_operators_threshold_raises_the_versions_and_never_lowers_it():
    assert isinstance(propose((0.1, 0.1, 0.8), policy=operator(confidence_threshold=0.9)), Skip)
    assert isinstance(propose((0.1, 0.5, 0.4), policy=operator(confidence_threshold=0.1)), Skip)


@pytest.mark.parametrize(
    ("class_returns", "probabilities", "outcome"),
    [
        # 0.7 * 0.01 - 0.1 * 0.01 = 0.006 pays costs of 0.0034; with half the returns 0.003 does not.
        ((-0.01, 0.0, 0.01), (0.1, 0.2, 0.7), "buy"),
        ((-0.005, 0.0, 0.005), (0.1, 0.2, 0.7), Reason.HOLD_COSTS),
        ((-0.01, 0.0, 0.01), (0.7, 0.2, 0.1), "sell"),
        ((-0.005, 0.0, 0.005), (0.7, 0.2, 0.1), Reason.HOLD_COSTS),
        # A wide loss outweighs the likelier gain: the sign of the expected move is against the side.
        ((-0.09, 0.0, 0.01), (0.1, 0.2, 0.7), Reason.HOLD_COSTS),
        ((), (0.1, 0.2, 0.7), Reason.CLASS_RETURNS_UNKNOWN),
        ((), (0.1, 0.8, 0.1), Reason.HOLD),
        ((-0.01, math.nan, 0.01), (0.1, 0.2, 0.7), Reason.HOLD_COSTS),
    ],
)
def test_a_cost_aware_strategy_acts_on_moves_that_pay_their_costs(class_returns, probabilities, outcome):
    of = model(class_returns=class_returns)

    assert outcome_of(propose(probabilities, of, operator(cost_aware=True))) == outcome
    if outcome is not Reason.HOLD:
        assert isinstance(propose(probabilities, of), Proposal)


def test_the_spread_is_paid_by_half_on_each_side_and_an_unknown_one_not_at_all():
    assert core_model.round_trip_cost(POLICY, SNAPSHOT) == pytest.approx(COSTS)
    assert core_model.round_trip_cost(POLICY, MarketSnapshot(price=100.0)) == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("prediction", "outcome"),
    [
        (0.01, "buy"),
        (-0.01, "sell"),
        (COSTS, Reason.HOLD_COSTS),
        (-COSTS, Reason.HOLD_COSTS),
        (0.0, Reason.HOLD_COSTS),
        (math.nan, Reason.HOLD),
        (math.inf, Reason.HOLD),
        (-math.inf, Reason.HOLD),
    ],
)
def test_a_regression_acts_on_returns_beyond_the_costs_in_their_direction(prediction, outcome):
    assert outcome_of(propose((prediction,), REGRESSION)) == outcome


@pytest.mark.parametrize(
    ("prediction", "volatility", "outcome"),
    [
        (2.0, 0.002, "buy"),
        (-2.0, 0.002, "sell"),
        (2.0, 0.0016, Reason.HOLD_COSTS),
        (2.0, 0.0, Reason.HOLD_COSTS),
        (2.0, -0.002, Reason.HOLD_COSTS),
        (2.0, math.nan, Reason.HOLD_COSTS),
        (2.0, None, Reason.FEATURES_MISSING),
    ],
)
def test_a_risk_adjusted_prediction_is_a_return_only_by_the_vectors_volatility(
    prediction, volatility, outcome
):
    features = {} if volatility is None else {"volatility_5m": volatility}

    proposed = propose((prediction,), RISK_ADJUSTED, **features)

    assert outcome_of(proposed) == outcome
    if volatility is None:
        assert proposed.facts["missing"] == ["volatility_5m"]


def test_a_regressions_confidence_is_how_often_its_sign_is_right():
    proposed = propose((-0.015,), REGRESSION)

    assert proposed.confidence == pytest.approx(0.75)
    assert proposed.requested_quote == 200
    assert proposed.facts["expected_return"] == -0.015
    assert isinstance(propose((-0.015,), REGRESSION, operator(confidence_threshold=0.76)), Skip)


_PROBABILITIES = st.lists(st.floats(min_value=0, max_value=1), min_size=3, max_size=3)
_ANY = st.lists(st.floats(), min_size=3, max_size=3)


@given(_PROBABILITIES)
def test_whatever_the_probabilities_the_amount_stays_within_its_bounds(raw):
    proposed = propose(raw)

    if isinstance(proposed, Proposal):
        assert 100 <= proposed.requested_quote <= 300
        assert 0.5 <= proposed.confidence <= 1


@given(_PROBABILITIES, st.permutations(range(3)), st.booleans())
def test_the_order_of_the_labels_changes_nothing(raw, order, is_calibrated):
    tables = tuple(((0.0, low), (1.0, high)) for low, high in ((0.1, 0.6), (0.2, 0.9), (0.0, 1.0)))
    of = model(
        class_returns=(-0.01, 0.001, 0.012), calibration=tables if is_calibrated else (), threshold=0.4
    )
    turned = msgspec.structs.replace(
        of,
        labels=tuple(of.labels[each] for each in order),
        class_returns=tuple(of.class_returns[each] for each in order),
        calibration=tuple(of.calibration[each] for each in order) if is_calibrated else (),
    )
    policy = operator(cost_aware=True)

    one = propose(calibrate(raw, of.calibration), of, policy)
    other = propose(calibrate([raw[each] for each in order], turned.calibration), turned, policy)

    assert one == other


@given(st.floats(0.5, 1), st.floats(0.5, 1), st.floats(0, 1))
def test_a_surer_model_never_asks_for_less(p, q, threshold):
    assume(threshold <= min(p, q))
    of = model(threshold=threshold)

    low, high = (propose((0.0, 1 - each, each), of).requested_quote for each in sorted((p, q)))

    assert 100 <= low <= high <= 300


@given(_ANY, st.integers(0, 2), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_an_answer_that_is_no_number_never_proposes(answer, index, wrong):
    answer[index] = wrong

    assert propose(answer).reason is Reason.HOLD
    assert propose((wrong,), REGRESSION).reason is Reason.HOLD


@given(st.floats(allow_nan=False), st.floats(), st.none() | st.floats(min_value=0, allow_infinity=False))
def test_a_regression_stays_within_its_bounds_whatever_it_says(prediction, volatility, spread):
    snapshot = MarketSnapshot(price=100.0, spread=spread)

    proposed = propose((prediction,), RISK_ADJUSTED, snapshot=snapshot, volatility_5m=volatility)

    if isinstance(proposed, Proposal):
        assert abs(prediction) * volatility > core_model.round_trip_cost(POLICY, snapshot)
        assert proposed.side == ("buy" if prediction > 0 else "sell")
        assert 100 <= proposed.requested_quote <= 300
        assert 0.5 <= proposed.confidence <= 1
