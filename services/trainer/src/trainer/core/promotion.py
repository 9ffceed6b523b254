"""Promotion: may a new version trade?

The test split decides; train never does. Each policy asks its questions in one order and the first that is
not answered well ends it. Every comparison is written so that NaN fails.
"""

import math
from enum import StrEnum
from typing import Literal

import msgspec

from trainer.core.bootstrap import Interval

LEAK_AUC = 0.98
"""No honest model of a market ranks this well."""
LEAK_LIFT_GAP = 0.10
"""Lift on test this far above that on validation is no luck, unless test is too short to say."""

Verdict = Literal["accepted", "refused", "insufficient_evidence", "quarantined"]


class Policy(StrEnum):
    """How strict the gate is."""

    SPECIFICATION = "specification"
    HONEST = "honest"
    MANUAL = "manual"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's settings."""

    policy: Policy
    min_effective_rows: float
    min_accuracy: float
    """Asked by `specification` alone."""


class Champion(msgspec.Struct, frozen=True, kw_only=True):
    """The active version, scored anew on the challenger's test rows."""

    version: str
    accuracy: float


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a version from rows that it was not fitted to."""

    rows: int
    """Of test."""
    effective_rows: float
    """Rows over rows per horizon: neighbours within one share their future."""
    accuracy: float
    baseline_accuracy: float
    """On test, of always naming the class most frequent in train."""
    majority_label: int
    lift: Interval
    """Accuracy above the baseline."""
    direction: Interval
    """How often the side that the model leans to is right rather than wrong, a row, above the best of always
    up, always down and nothing. Foreseeing *that* a market moves, but not where to, is no reason to trade."""
    roc_auc: float | None
    validation_lift: float
    champion: Champion | None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict, why in one sentence, and whether the version is activated by it."""

    verdict: Verdict
    sentence: str
    activate: bool


def judge(evidence: Evidence, rules: Rules) -> Decision:
    """The verdict of `rules.policy` on this evidence."""
    against = (
        _leaking(evidence)
        or _too_little(evidence, rules)
        or _not_a_number(evidence)
        or _no_lift(evidence)
        or _no_direction(evidence)
        or _worse_than_champion(evidence)
        or _not_accurate(evidence, rules)
    )
    if against:
        return against
    by_hand = rules.policy is Policy.MANUAL
    return Decision(
        verdict="accepted",
        sentence=f"accepted by the {rules.policy} policy: {_figures(evidence)}, "
        f"direction {_span(evidence.direction)}"
        + ("; it waits for an operator to activate it" if by_hand else ""),
        activate=not by_hand,
    )


def _leaking(evidence: Evidence) -> Decision | None:
    if evidence.roc_auc is not None and evidence.roc_auc > LEAK_AUC:
        return _not(
            "quarantined", f"ROC AUC {evidence.roc_auc:.3f} is above {LEAK_AUC}: a feature knows the label"
        )
    chance = 1.5 / math.sqrt(evidence.effective_rows) if evidence.effective_rows > 0 else math.inf
    gap = evidence.lift.mean - evidence.validation_lift
    if gap > max(LEAK_LIFT_GAP, chance):
        return _not(
            "quarantined",
            f"lift on test {evidence.lift.mean:+.3f} is implausibly far above that on validation "
            f"{evidence.validation_lift:+.3f}",
        )
    return None


def _too_little(evidence: Evidence, rules: Rules) -> Decision | None:
    if evidence.effective_rows >= rules.min_effective_rows:
        return None
    return _not(
        "insufficient_evidence",
        f"{evidence.effective_rows:,.0f} effective rows of test, {rules.min_effective_rows:,.0f} are needed "
        f"(MODEL_PROMOTION_MIN_TEST_ROWS)",
    )


def _not_a_number(evidence: Evidence) -> Decision | None:
    figures = (
        evidence.accuracy,
        evidence.baseline_accuracy,
        evidence.lift.mean,
        evidence.lift.lower,
        evidence.direction.lower,
    )
    if all(math.isfinite(figure) for figure in figures):
        return None
    return _not("refused", "a figure of test is not a number")


def _no_lift(evidence: Evidence) -> Decision | None:
    if evidence.lift.lower > 0:
        return None
    return _not("refused", f"no proven lift over the majority class: {_figures(evidence)}")


def _no_direction(evidence: Evidence) -> Decision | None:
    direction = evidence.direction
    if direction.lower > 0:
        return None
    return _not(
        "refused",
        f"no proven sense of direction: the side it leans to is right {_span(direction)} a row above "
        f"the best constant side, although its {_figures(evidence)}",
    )


def _worse_than_champion(evidence: Evidence) -> Decision | None:
    champion = evidence.champion
    if champion is None or evidence.accuracy >= champion.accuracy:
        return None
    return _not(
        "refused",
        f"test accuracy {evidence.accuracy:.3f} is below the {champion.accuracy:.3f} of {champion.version} "
        "on the same rows",
    )


def _not_accurate(evidence: Evidence, rules: Rules) -> Decision | None:
    if rules.policy is not Policy.SPECIFICATION or evidence.accuracy >= rules.min_accuracy:
        return None
    return _not(
        "refused",
        f"test accuracy {evidence.accuracy:.3f} is below {rules.min_accuracy:.3f} "
        f"(MODEL_QUALITY_THRESHOLD_ACCURACY): {_figures(evidence)}",
    )


def _figures(evidence: Evidence) -> str:
    return (
        f"test accuracy {evidence.accuracy:.3f} against {evidence.baseline_accuracy:.3f} for always naming "
        f"class {evidence.majority_label}, lift {_span(evidence.lift)} on {evidence.effective_rows:,.0f} "
        "effective rows"
    )


def _span(interval: Interval) -> str:
    return f"{interval.mean:+.3f} (95 % interval {interval.lower:+.3f} to {interval.upper:+.3f})"


def _not(verdict: Verdict, why: str) -> Decision:
    return Decision(verdict=verdict, sentence=f"{verdict.replace('_', ' ')}: {why}", activate=False)
