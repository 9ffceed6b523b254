"""Promotion: may a new version trade?

The test split decides; validation stands in where there is no test, train never does. Each policy asks its
questions in one order and the first that is not answered well ends it. Every comparison is written so that
NaN fails.
"""

import math
from enum import StrEnum
from typing import Literal

import msgspec

from trainer.core.bootstrap import Interval

LEAK_AUC = 0.98
"""No honest model of a market ranks this well."""
LEAK_LIFT_GAP = 0.10
"""Lift on test this far above that on validation is no luck, unless both are too short to say."""
LEAK_DEVIATIONS = 2.0
"""Times the root of the summed inverse effective rows: three standard deviations of a difference of lifts."""

Verdict = Literal["accepted", "refused", "insufficient_evidence", "quarantined"]
Source = Literal["test", "validation"]


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
    require_profit: bool = False
    """Whether the thresholded signals must earn more than they cost."""


class Champion(msgspec.Struct, frozen=True, kw_only=True):
    """The active version, scored anew on the challenger's test rows."""

    version: str
    accuracy: float


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a version from rows that no fit has seen.

    Accuracies and `own_lift` are the version's on its own rows; intervals without `own` are of all pooled
    rows: its own, those of earlier runs of the recipe and of walk-forward folds.
    """

    source: Source = "test"
    """The split that the version's own rows are from."""
    rows: int
    """Pooled."""
    effective_rows: float
    """Rows over rows per horizon: neighbours within one share their future."""
    horizon_rows: float = 1.0
    accuracy: float
    baseline_accuracy: float
    """Of always naming the class most frequent in train."""
    majority_label: int
    """-1, 0 or 1; of a regression the more frequent sign."""
    lift: Interval
    """Accuracy above the baseline."""
    persistence_lift: Interval
    """Accuracy above that of naming what came last."""
    direction: Interval
    """How often the side that the model leans to is right rather than wrong, a row, above the best of always
    up, always down and nothing. Foreseeing *that* a market moves, but not where to, is no reason to trade."""
    trades: int = 0
    expectancy: Interval = Interval(mean=0.0, lower=-1.0, upper=1.0)
    """Mean result of a thresholded signal after costs, as a fraction of the traded value."""
    own_rows: int
    own_effective_rows: float
    own_lift: Interval
    own_direction: Interval
    roc_auc: float | None
    validation_lift: float
    validation_effective_rows: float
    champion: Champion | None
    unscored: str = ""
    """Why there is no champion although a version is active."""
    earlier: tuple[str, ...] = ()
    """Versions of the same recipe whose rows are pooled, the newest first."""
    folds: int = 0
    """Walk-forward folds of train whose rows are pooled."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict, why in one sentence, and whether the version is activated by it."""

    verdict: Verdict
    sentence: str
    activate: bool
    effective_rows_needed: float | None = None
    """So many would prove an advantage of the size seen, or are asked for at least; None: no number would."""


def judge(evidence: Evidence, rules: Rules) -> Decision:
    """The verdict of `rules.policy` on this evidence."""
    against = (
        _leaking(evidence)
        or _too_little(evidence, rules)
        or _not_a_number(evidence)
        or _no_lift(evidence)
        or _no_direction(evidence)
        or _its_own_rows(evidence)
        or _worse_than_champion(evidence)
        or _no_profit(evidence, rules)
        or _not_accurate(evidence, rules)
    )
    if against:
        return against
    # What could not be compared with the active version does not replace it by itself.
    by_hand = rules.policy is Policy.MANUAL or bool(evidence.unscored)
    stands_in = "; validation stands in for the missing test" if evidence.source == "validation" else ""
    alone = f"; held against no other: {evidence.unscored}" if evidence.unscored else ""
    return Decision(
        verdict="accepted",
        sentence=f"accepted by the {rules.policy} policy: {_figures(evidence)}, "
        f"direction {_span(evidence.direction)}{stands_in}{alone}"
        + ("; it waits for an operator to activate it" if by_hand else ""),
        activate=not by_hand,
    )


def _leaking(evidence: Evidence) -> Decision | None:
    if evidence.roc_auc is not None and evidence.roc_auc > LEAK_AUC:
        return _not(
            "quarantined", f"ROC AUC {evidence.roc_auc:.3f} is above {LEAK_AUC}: a feature knows the label"
        )
    own, other = evidence.own_effective_rows, evidence.validation_effective_rows
    gap = evidence.own_lift.mean - evidence.validation_lift
    # Multiplied by the root of both: where there are no rows, no gap is beyond chance.
    beyond_chance = gap * math.sqrt(own * other) > LEAK_DEVIATIONS * math.sqrt(own + other)
    if gap > LEAK_LIFT_GAP and beyond_chance:
        return _not(
            "quarantined",
            f"lift on test {evidence.own_lift.mean:+.3f} is implausibly far above that on validation "
            f"{evidence.validation_lift:+.3f}",
        )
    return None


def _too_little(evidence: Evidence, rules: Rules) -> Decision | None:
    if evidence.effective_rows >= rules.min_effective_rows:
        return None
    needed = max(
        rules.min_effective_rows, _rows_to_prove(evidence.lift, evidence) or rules.min_effective_rows
    )
    return _not(
        "insufficient_evidence",
        f"{evidence.effective_rows:,.0f} effective rows of {_rows_of(evidence)}, "
        f"{rules.min_effective_rows:,.0f} are needed (MODEL_PROMOTION_MIN_TEST_ROWS)",
        needed=needed,
    )


def _not_a_number(evidence: Evidence) -> Decision | None:
    figures = (
        evidence.accuracy,
        evidence.baseline_accuracy,
        evidence.validation_lift,
        evidence.roc_auc,
        *(
            figure
            for interval in (evidence.lift, evidence.persistence_lift, evidence.direction, evidence.own_lift)
            for figure in (interval.mean, interval.lower)
        ),
    )
    if all(figure is None or math.isfinite(figure) for figure in figures):
        return None
    return _not("refused", f"a figure of {evidence.source} is not a number")


def _no_lift(evidence: Evidence) -> Decision | None:
    for lift, rival in (
        (evidence.lift, "the majority class"),
        (evidence.persistence_lift, f"naming what came last ({_span(evidence.persistence_lift)})"),
    ):
        if not lift.lower > 0:
            return _not(
                "refused",
                f"no proven lift over {rival}: {_figures(evidence)}{_takes(lift, evidence)}",
                needed=_rows_to_prove(lift, evidence),
            )
    return None


def _no_direction(evidence: Evidence) -> Decision | None:
    direction = evidence.direction
    if direction.lower > 0:
        return None
    return _not(
        "refused",
        f"no proven sense of direction: the side it leans to is right {_span(direction)} a row above "
        f"the best constant side, although its {_figures(evidence)}{_takes(direction, evidence)}",
        needed=_rows_to_prove(direction, evidence),
    )


def _its_own_rows(evidence: Evidence) -> Decision | None:
    for figure, name in ((evidence.own_lift, "lift"), (evidence.own_direction, "direction")):
        if not figure.upper > 0:
            return _not(
                "refused",
                f"its own {evidence.source} speaks against it, whatever the recipe's other rows say: "
                f"{name} {_span(figure)}",
            )
    return None


def _worse_than_champion(evidence: Evidence) -> Decision | None:
    champion = evidence.champion
    if champion is None or evidence.accuracy >= champion.accuracy:
        return None
    return _not(
        "refused",
        f"{evidence.source} accuracy {evidence.accuracy:.3f} is below the {champion.accuracy:.3f} of "
        f"{champion.version} on the same rows",
    )


def _no_profit(evidence: Evidence, rules: Rules) -> Decision | None:
    if not rules.require_profit or evidence.expectancy.mean > 0:
        return None
    return _not(
        "refused",
        f"its signals do not pay for themselves: {_span(evidence.expectancy, digits=5)} a trade after costs "
        f"in {evidence.trades:,} trades (MODEL_PROMOTION_REQUIRE_PROFIT)",
    )


def _not_accurate(evidence: Evidence, rules: Rules) -> Decision | None:
    if rules.policy is not Policy.SPECIFICATION or evidence.accuracy >= rules.min_accuracy:
        return None
    return _not(
        "refused",
        f"{evidence.source} accuracy {evidence.accuracy:.3f} is below {rules.min_accuracy:.3f} "
        f"(MODEL_QUALITY_THRESHOLD_ACCURACY): {_figures(evidence)}",
    )


# The interval's width falls with the square root of the rows.
def _rows_to_prove(interval: Interval, evidence: Evidence) -> float | None:
    if not interval.mean > 0 or not math.isfinite(interval.lower):
        return None
    return evidence.effective_rows * ((interval.mean - interval.lower) / interval.mean) ** 2


def _takes(interval: Interval, evidence: Evidence) -> str:
    needed = _rows_to_prove(interval, evidence)
    if needed is None:
        return ""
    return f"; an advantage of that size takes about {needed:,.0f} effective rows to prove"


def _figures(evidence: Evidence) -> str:
    return (
        f"{evidence.source} accuracy {evidence.accuracy:.3f} against {evidence.baseline_accuracy:.3f} for "
        f"always naming class {evidence.majority_label}, lift {_span(evidence.lift)} on "
        f"{evidence.effective_rows:,.0f} effective rows{_pooled(evidence)}"
    )


def _rows_of(evidence: Evidence) -> str:
    return f"{evidence.source}{_pooled(evidence)}"


def _pooled(evidence: Evidence) -> str:
    parts = []
    if evidence.earlier:
        parts.append(f"{len(evidence.earlier)} earlier run{'s' * (len(evidence.earlier) > 1)}")
    if evidence.folds:
        parts.append(f"{evidence.folds} walk-forward fold{'s' * (evidence.folds > 1)}")
    return f" pooled with {' and '.join(parts)}" if parts else ""


def _span(interval: Interval, *, digits: int = 3) -> str:
    return (
        f"{interval.mean:+.{digits}f} (95 % interval {interval.lower:+.{digits}f} "
        f"to {interval.upper:+.{digits}f})"
    )


def _not(verdict: Verdict, why: str, *, needed: float | None = None) -> Decision:
    return Decision(
        verdict=verdict,
        sentence=f"{verdict.replace('_', ' ')}: {why}",
        activate=False,
        effective_rows_needed=needed,
    )
