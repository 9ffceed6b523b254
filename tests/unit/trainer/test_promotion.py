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
    direction=Interval(mean=0.1, lower=0.06, upper=0.14),
    roc_auc=0.56,
    validation_lift=0.08,
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
            "999 effective rows of test, 1,000 are needed",
        ),
        (given(effective_rows=NAN), "insufficient_evidence", "are needed"),
        (given(lift=lift(0.02, lower=0.0001)), "accepted", "lift +0.020"),
        (given(lift=lift(0.02, lower=0.0)), "refused", "no proven lift over the majority class"),
        (given(lift=lift(-0.03, lower=-0.05)), "refused", "lift -0.030"),
        (given(accuracy=NAN), "refused", "not a number"),
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
        (given(lift=lift(0.19), validation_lift=0.1), "accepted", "accepted"),
        (given(lift=lift(0.21), validation_lift=0.1), "quarantined", "implausibly far above"),
        # on a short test luck goes as far
        (
            given(lift=lift(0.21), validation_lift=0.1, effective_rows=50.0),
            "insufficient_evidence",
            "50 effe",
        ),
        # a leak is a leak however short the test
        (given(roc_auc=0.999, effective_rows=5.0), "quarantined", "knows the label"),
    ],
)
def test_the_honest_policy_asks_for_proof_and_nothing_else(evidence, verdict, said):
    decision = judge(evidence, HONEST)

    assert decision.verdict == verdict
    assert said in decision.sentence
    assert decision.activate == (verdict == "accepted")


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
