import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.inference.cases import vector

from inference.core.alignment import Alignment, align, by_model_names, feature_names, lacked
from inference.core.model import Model
from inference.core.reasons import Reason, Skip

NAMES = tuple(f"f{n}" for n in range(20))
MODEL = Model(
    version="v3",
    sha256="ab" * 32,
    symbol="BTCUSDT",
    features=NAMES,
    optional_features=frozenset({"f0", "f1", "f2"}),
    labels=(-1, 0, 1),
    threshold=0.5,
    calibration=(),
    feature_registry_version="1.0.0",
    horizon_s=60.0,
)
FULL = {name: float(n) for n, name in enumerate(NAMES)}


def without(*names, **others):
    return vector(**{name: value for name, value in {**FULL, **others}.items() if name not in names})


@given(st.permutations([*NAMES, "extra_1", "extra_2"]))
def test_the_order_of_features_and_those_nobody_asked_for_change_nothing(names):
    shuffled = without("f0")
    shuffled.features.clear()
    shuffled.features.update({name: FULL.get(name, 99.0) for name in names})

    assert align(shuffled, MODEL) == tuple(FULL.values())


@pytest.mark.parametrize("missing", sorted(set(NAMES) - MODEL.optional_features))
def test_a_feature_that_the_manifest_needs_is_named_when_it_is_missing(missing):
    outcome = align(without(missing), MODEL)

    assert outcome == Skip(Reason.FEATURES_MISSING, {"missing": [missing], "count": 1, "version": "v3"})


@pytest.mark.parametrize(
    ("missing", "decides"),
    [(("f0",), True), (("f0", "f1"), True), (("f0", "f1", "f2"), False)],
)
def test_optional_features_may_be_missing_up_to_a_tenth(missing, decides):
    row = align(without(*missing), MODEL)

    assert isinstance(row, tuple) == decides
    if decides:
        assert lacked(MODEL, row) == missing
        assert [value for value in row if not math.isnan(value)] == [
            value for name, value in FULL.items() if name not in missing
        ]


@pytest.mark.parametrize(
    ("changed", "reason", "facts"),
    [
        (
            {"feature_registry_version": "2.0.0"},
            Reason.REGISTRY_MISMATCH,
            {"vector": "1.0.0", "model": "2.0.0", "version": "v3"},
        ),
        ({"symbol": "ETHUSDT"}, Reason.MODEL_OF_ANOTHER_SYMBOL, {"model_symbol": "ETHUSDT", "version": "v3"}),
    ],
)
def test_a_vector_of_another_registry_or_symbol_is_a_reason_never_a_guess(changed, reason, facts):
    assert align(without(), msgspec.structs.replace(MODEL, **changed)) == Skip(reason, facts)


def test_a_feature_that_is_needed_is_named_before_the_optional_ones():
    outcome = align(without("f0", "f9"), MODEL)

    assert outcome.facts["missing"] == ["f9", "f0"]


def test_what_the_operator_requires_is_required_also_where_it_is_optional_or_unknown_to_the_model():
    optional = Alignment(required=("f0",))
    foreign = Alignment(required=("funding_rate",))

    assert align(without("f0"), MODEL, optional).facts["missing"] == ["f0"]
    assert align(without(), MODEL, foreign).facts["missing"] == ["funding_rate"]
    assert isinstance(align(without(funding_rate=0.0001), MODEL, foreign), tuple)


def test_a_model_finds_its_features_under_the_vectors_names():
    renamed = Alignment(names={"f3": "close_price", "f4": "f3"})
    model = msgspec.structs.replace(MODEL, features=("f3", "f4", "f5"), optional_features=frozenset())
    features = {"close_price": 30.0, "f3": 40.0, "f5": 50.0}

    assert align(vector(**features), model, renamed) == (30.0, 40.0, 50.0)
    assert by_model_names(vector(**features), ("f3", "f4", "nowhere"), renamed) == {"f3": 30.0, "f4": 40.0}


def test_a_required_feature_is_looked_up_under_its_mapped_name():
    renamed = Alignment(names={"price": "mid_price"}, required=("price",))

    assert isinstance(align(without(), MODEL, renamed), tuple)


def test_pairs_of_names_are_a_mapping():
    assert feature_names(("close_price:mid_price", " a : b ")) == {"close_price": "mid_price", "a": "b"}


@pytest.mark.parametrize("pair", ["close_price", ":mid_price", "close_price:", ""])
def test_what_is_no_pair_of_names_is_refused_with_its_text(pair):
    with pytest.raises(ValueError, match="MODEL_NAME:VECTOR_NAME"):
        feature_names((pair,))


def test_one_name_cannot_mean_two_features():
    with pytest.raises(ValueError, match="names a twice"):
        feature_names(("a:b", "a:c"))
