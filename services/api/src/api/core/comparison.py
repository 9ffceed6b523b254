"""Two versions side by side: which figures differ, and which way is better."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

LOWER_IS_BETTER: frozenset[str] = frozenset(
    {"log_loss", "brier", "brier_score", "ece", "mse", "rmse", "mae", "max_drawdown"}
)
HIGHER_IS_BETTER: frozenset[str] = frozenset(
    {
        "accuracy",
        "balanced_accuracy",
        "directional_accuracy",
        "precision",
        "recall",
        "f1",
        "f1_score",
        "mcc",
        "roc_auc",
        "pr_auc",
        "r2",
        "lift",
        "lift_lower",
        "lift_upper",
        "direction_lift",
        "direction_lift_lower",
        "pooled_lift",
        "pooled_lift_lower",
        "pooled_direction_lift",
        "pooled_direction_lift_lower",
        "coverage",
        "win_rate",
        "expectancy",
        "profit_factor",
        "sharpe",
    }
)
"""Of other figures neither side is the better one: baselines and counts describe the rows."""
_SIDES = ("_down", "_flat", "_up")

Better = Literal["left", "right", "equal"]
FigureKey = tuple[str, str | None]
"""Name and split."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation of a version."""

    metric_name: str
    dataset_split: str | None
    """Null: the platform's older service did not say."""
    value: float
    evaluated_at: datetime


class ComparedMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of two versions on one split; null: the version has none."""

    metric_name: str
    dataset_split: str | None
    left: float | None
    """The first version's."""
    right: float | None
    """The second version's."""
    difference: float | None
    """Right minus left."""
    better: Better | None
    """Null: one side has no figure, or neither way is better."""


def newest(figures: Iterable[Figure]) -> dict[FigureKey, float]:
    """The value that was found last, by name and split."""
    found: dict[FigureKey, Figure] = {}
    for each in figures:
        key = each.metric_name, each.dataset_split
        if key not in found or each.evaluated_at > found[key].evaluated_at:
            found[key] = each
    return {key: each.value for key, each in found.items()}


def compared(left: Iterable[Figure], right: Iterable[Figure]) -> list[ComparedMetric]:
    """Every figure that one of the two has, by split and name, the newest of each side."""
    lefts, rights = newest(left), newest(right)
    return [
        _compared(key, lefts.get(key), rights.get(key))
        for key in sorted({*lefts, *rights}, key=lambda key: (key[1] or "", key[0]))
    ]


def better(metric_name: str, left: float, right: float) -> Better | None:
    """Which of two values of a figure is the better one; None: the name does not say."""
    name = metric_name
    for side in _SIDES:
        name = name.removesuffix(side)
    if name not in LOWER_IS_BETTER | HIGHER_IS_BETTER:
        return None
    if left == right:
        return "equal"
    return "left" if (left < right) == (name in LOWER_IS_BETTER) else "right"


def _compared(key: FigureKey, left: float | None, right: float | None) -> ComparedMetric:
    name, split = key
    return ComparedMetric(
        metric_name=name,
        dataset_split=split,
        left=left,
        right=right,
        difference=right - left if left is not None and right is not None else None,
        better=better(name, left, right) if left is not None and right is not None else None,
    )
