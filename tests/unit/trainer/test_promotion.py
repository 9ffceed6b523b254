"""The gate: every verdict, its borders, and the sentence that an operator reads."""

import math

import msgspec
import pytest

from trainer.core.bootstrap import Interval
from trainer.core.promotion import Champion, Evidence, Policy, Rules, judge

GOOD = Evidence(
    rows=12_000,
    effective_rows=3_000.0,
    accuracy=0.42,
    baseline_accuracy=0.34,
    majority_label=0,
    lift=Interval(mean=0.08, lower=0.05, upper=0.11),
    persistence_lift=Interval(mean=0.07, lower=0.04, upper=0.1),
    direction=Interval(mean=0.1, lower=0.06, upper=0.14),
    own_rows=12_000,
    own_effective_rows=3_000.0,
    own_lift=Interval(mean=0.08, lower=0.05, upper=0.11),
    own_direction=Interval(mean=0.1, lower=0.06, upper=0.14),
    roc_auc=0.56,
    validation_lift=0.08,
    validation_effective_rows=3_000.0,
    champion=None,
)
ACCURATE = {"accuracy": 0.8, "baseline_accuracy": 0.72}
HONEST = Rules(policy=Policy.HONEST, min_effective_rows=1_000, min_accuracy=0.75)
NAN = math.nan


def given(**changes):
    return msgspec.structs.replace(GOOD, **changes)


def lift(mean, lower=0.01, upper=0.2):
    return Interval(mean=mean, lower=lower, upper=upper)


def under(policy):
    return msgspec.structs.replace(HONEST, policy=policy)


@pytest.mark.parametrize(
    ("evidence", "verdict", "said"),
    [
        (given(), "accepted", "test accuracy 0.420 against 0.340 for always naming class 0, lift +0.080"),
        (given(effective_rows=1_000.0), "accepted", "1,000 effective rows"),
        (
            given(effective_rows=999.0),
            "insufficient_evidence",
            "insufficient evidence: 999 effective rows of test, 1,000 are needed",
        ),
        (given(effective_rows=NAN), "insufficient_evidence", "are needed"),
        (given(lift=lift(0.02, lower=0.0001)), "accepted", "lift +0.020"),
        (given(lift=lift(0.02, lower=0.0)), "refused", "no proven lift over the majority class"),
        (given(lift=lift(-0.03, lower=-0.05)), "refused", "lift -0.030"),
        (given(lift=lift(0.02, lower=-0.02)), "refused", "takes about 12,000 effective rows to prove"),
        (given(persistence_lift=lift(0.02, lower=0.0)), "refused", "over naming what came last (+0.020"),
        (given(persistence_lift=lift(0.02, lower=NAN)), "refused", "not a number"),
        (given(accuracy=NAN), "refused", "not a number"),
        (given(roc_auc=NAN), "refused", "not a number"),
        (given(validation_lift=NAN), "refused", "not a number"),
        (given(lift=lift(NAN)), "refused", "not a number"),
        (given(direction=lift(0.01, lower=0.0)), "refused", "no proven sense of direction"),
        (given(direction=lift(0.01, lower=0.0001)), "accepted", "accepted"),
        (given(direction=lift(0.05, lower=NAN)), "refused", "not a number"),
        (given(lift=lift(0.08, lower=NAN)), "refused", "not a number"),
        (given(champion=Champion(version="v3", accuracy=0.42)), "accepted", "accepted by the honest policy"),
        (given(champion=Champion(version="v3", accuracy=0.421)), "refused", "below the 0.421 of v3"),
        (given(champion=Champion(version="v3", accuracy=NAN)), "refused", "below the nan of v3"),
        (given(roc_auc=0.98), "accepted", "accepted"),
        (given(roc_auc=0.981), "quarantined", "ROC AUC 0.981 is above 0.98: a feature knows the label"),
        (given(roc_auc=None), "accepted", "accepted"),
        (given(own_lift=lift(0.19), validation_lift=0.1), "accepted", "accepted"),
        (given(own_lift=lift(0.21), validation_lift=0.1), "quarantined", "implausibly far above"),
        (given(own_lift=lift(0.1), validation_lift=0.0), "accepted", "accepted"),
        # on a short test, or a short validation, luck goes as far: here three deviations are 0.285
        (given(own_lift=lift(0.28), validation_lift=0.0, own_effective_rows=50.0), "accepted", "accepted"),
        (given(own_lift=lift(0.29), validation_lift=0.0, own_effective_rows=50.0), "quarantined", "+0.290"),
        (given(own_lift=lift(0.21), validation_lift=0.1, own_effective_rows=50.0), "accepted", "accepted"),
        (
            given(own_lift=lift(0.21), validation_lift=0.1, validation_effective_rows=50.0),
            "accepted",
            "accepted",
        ),
        (given(own_lift=lift(0.9), own_effective_rows=0.0), "accepted", "accepted"),
        (
            given(own_lift=lift(0.9), own_effective_rows=0.0, validation_effective_rows=0.0),
            "accepted",
            "accepted",
        ),
        # a leak is a leak however short the test
        (given(roc_auc=0.999, effective_rows=5.0), "quarantined", "knows the label"),
        # the recipe may be proven, and this version of it still be a bad one
        (
            given(own_lift=lift(-0.05, lower=-0.09, upper=-0.01)),
            "refused",
            "its own test speaks against it, whatever the recipe's other rows say: lift -0.050",
        ),
        (given(own_direction=lift(0.0, lower=-0.1, upper=0.0)), "refused", "direction +0.000"),
        (
            given(earlier=("v3", "v2"), folds=1),
            "accepted",
            "3,000 effective rows pooled with 2 earlier runs and 1 walk-forward fold, direction",
        ),
        (
            given(source="validation", earlier=("v3",)),
            "accepted",
            "; validation stands in for the missing test",
        ),
        (given(expectancy=lift(-0.001, lower=-0.002)), "accepted", "accepted"),
    ],
)
def test_the_honest_policy_asks_for_proof_and_nothing_else(evidence, verdict, said):
    decision = judge(evidence, HONEST)

    assert decision.verdict == verdict
    assert said in decision.sentence
    assert decision.activate == (verdict == "accepted")


def test_an_operator_reads_the_figures_and_nothing_that_does_not_apply():
    assert judge(given(), HONEST).sentence == (
        "accepted by the honest policy: test accuracy 0.420 against 0.340 for always naming class 0, "
        "lift +0.080 (95 % interval +0.050 to +0.110) on 3,000 effective rows, "
        "direction +0.100 (95 % interval +0.060 to +0.140)"
    )


def test_an_operator_reads_everything_that_stands_in_or_waits():
    sentence = judge(given(source="validation", unscored="v3 has no test"), HONEST).sentence

    assert sentence.endswith(
        " to +0.140); validation stands in for the missing test; held against no other: v3 has no test; "
        "it waits for an operator to activate it"
    )


@pytest.mark.parametrize(
    ("earlier", "folds", "pooled"),
    [
        ((), 0, ""),
        (("v3",), 0, " pooled with 1 earlier run"),
        (("v3", "v2"), 0, " pooled with 2 earlier runs"),
        ((), 1, " pooled with 1 walk-forward fold"),
        ((), 2, " pooled with 2 walk-forward folds"),
        (("v3",), 3, " pooled with 1 earlier run and 3 walk-forward folds"),
    ],
)
def test_what_is_pooled_is_counted(earlier, folds, pooled):
    sentence = judge(given(earlier=earlier, folds=folds), HONEST).sentence

    assert f" effective rows{pooled}, direction" in sentence


def test_what_no_number_of_rows_would_prove_is_promised_none():
    for refused in (given(lift=lift(-0.03, lower=-0.05)), given(direction=lift(-0.01, lower=-0.05))):
        assert judge(refused, HONEST).sentence.endswith(" on 3,000 effective rows")


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (given(**ACCURATE), "accepted"),
        (given(accuracy=0.75, baseline_accuracy=0.67), "accepted"),
        (given(accuracy=0.7499, baseline_accuracy=0.67), "refused"),
        (given(), "refused"),
        (given(**ACCURATE, lift=lift(0.0, lower=-0.01)), "refused"),  # an always-majority model
    ],
)
def test_the_specifications_policy_asks_for_accuracy_as_well(evidence, verdict):
    decision = judge(evidence, under(Policy.SPECIFICATION))

    assert decision.verdict == verdict
    if verdict == "refused" and evidence.lift.lower > 0:
        assert "(MODEL_QUALITY_THRESHOLD_ACCURACY)" in decision.sentence


def test_what_could_not_be_held_against_the_active_version_waits_for_an_operator():
    alone = judge(given(unscored="champion v3 answers another question"), under(Policy.HONEST))

    assert (alone.verdict, alone.activate) == ("accepted", False)
    assert "; held against no other: champion v3 answers another question; it waits" in alone.sentence


def test_by_hand_nothing_is_activated_and_nothing_is_waved_through():
    accepted = judge(given(), under(Policy.MANUAL))
    refused = judge(given(lift=lift(0.0, lower=-0.01)), under(Policy.MANUAL))

    assert (accepted.verdict, accepted.activate) == ("accepted", False)
    assert accepted.sentence.endswith("it waits for an operator to activate it")
    assert refused.verdict == "refused"


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("field", ["accuracy", "baseline_accuracy", "effective_rows"])
def test_no_policy_accepts_what_is_not_a_number(policy, field):
    assert not judge(given(**{**ACCURATE, field: NAN}), under(policy)).activate


@pytest.mark.parametrize(
    ("expectancy", "verdict"),
    [(0.0001, "accepted"), (0.0, "refused"), (-0.0001, "refused"), (NAN, "refused")],
)
def test_where_profit_is_required_signals_must_pay_for_themselves(expectancy, verdict):
    rules = msgspec.structs.replace(HONEST, require_profit=True)

    decision = judge(given(expectancy=lift(expectancy, lower=-0.1), trades=77), rules)

    assert decision.verdict == verdict
    assert ("in 77 trades (MODEL_PROMOTION_REQUIRE_PROFIT)" in decision.sentence) == (verdict == "refused")


def test_what_a_trade_costs_is_told_to_the_thousandth_of_a_per_cent():
    losing = given(expectancy=Interval(mean=-0.00123, lower=-0.002, upper=0.00004), trades=1_234)

    sentence = judge(losing, msgspec.structs.replace(HONEST, require_profit=True)).sentence

    assert "-0.00123 (95 % interval -0.00200 to +0.00004) a trade after costs in 1,234 trades" in sentence


@pytest.mark.parametrize(
    ("evidence", "needed"),
    [
        (given(), None),
        (given(effective_rows=200.0), 1_000),
        (given(effective_rows=200.0, lift=lift(0.01, lower=-0.03)), 3_200),
        (given(lift=lift(0.02, lower=-0.02)), 12_000),
        (given(direction=lift(0.02, lower=0.0)), 3_000),
        (given(lift=lift(-0.02, lower=-0.04)), None),
    ],
)
def test_a_verdict_names_the_effective_rows_that_would_settle_it(evidence, needed):
    found = judge(evidence, HONEST).effective_rows_needed

    assert found == (needed and pytest.approx(needed))
