"""The models that trade: how many there are, and how far each is above its baseline."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from api.core.comparison import Figure, newest

FIGURES = ("accuracy", "directional_accuracy", "baseline_accuracy", "lift", "lift_lower", "lift_upper")
"""What is read of each active version."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """How many versions of a strategy are of one type, active or not."""

    strategy_id: str
    model_type: str
    is_active: bool
    versions: int


class SplitFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How far a version is above its baseline on one split; what is not known is null."""

    dataset_split: str | None
    accuracy: float | None
    """Of a regression the directional one."""
    baseline_accuracy: float | None
    """Of always naming what is most frequent in train."""
    lift: float | None
    """Accuracy minus baseline."""
    lift_lower: float | None
    """Lower end of its 95 % interval."""
    lift_upper: float | None
    """Upper end of that interval."""


class ActiveModel(msgspec.Struct, frozen=True, kw_only=True):
    """A version that trades."""

    strategy_id: str
    version: str
    model_type: str
    metrics: list[SplitFigures]
    """By split: live, test, validation."""


class ModelPerformance(msgspec.Struct, frozen=True, kw_only=True):
    """All versions counted, and those that trade."""

    active_models_count: int
    """Versions that a strategy trades with."""
    total_models_count: int
    """Versions that are registered."""
    models_by_strategy: dict[str, int]
    """Registered versions of each strategy."""
    models_by_type: dict[str, int]
    """Registered versions of each type."""
    active: list[ActiveModel]
    """Those that trade."""


def model_performance(
    counted: Iterable[Counted], active: Iterable[tuple[str, str, str, list[Figure]]]
) -> ModelPerformance:
    """`active` holds strategy, version, type and figures of each active version."""
    by_strategy: Counter[str] = Counter()
    by_type: Counter[str] = Counter()
    active_count = 0
    for each in counted:
        by_strategy[each.strategy_id] += each.versions
        by_type[each.model_type] += each.versions
        active_count += each.versions * each.is_active
    return ModelPerformance(
        active_models_count=active_count,
        total_models_count=by_type.total(),
        models_by_strategy=dict(sorted(by_strategy.items())),
        models_by_type=dict(sorted(by_type.items())),
        active=[
            ActiveModel(
                strategy_id=strategy_id, version=version, model_type=model_type, metrics=by_split(figures)
            )
            for strategy_id, version, model_type, figures in sorted(active, key=lambda each: each[:2])
        ],
    )


def by_split(figures: Iterable[Figure]) -> list[SplitFigures]:
    """How far a version is above its baseline on each split that there is a figure of, by its newest ones."""
    found = newest(figures)
    return [_of_split(split, found) for split in sorted({key[1] for key in found}, key=lambda s: s or "")]


def _of_split(split: str | None, found: dict[tuple[str, str | None], float]) -> SplitFigures:
    named = {name: value for (name, of), value in found.items() if of == split}
    accuracy = named.get("accuracy", named.get("directional_accuracy"))
    baseline, lift = named.get("baseline_accuracy"), named.get("lift")
    if lift is None and accuracy is not None and baseline is not None:
        lift = accuracy - baseline
    return SplitFigures(
        dataset_split=split,
        accuracy=accuracy,
        baseline_accuracy=baseline,
        lift=lift,
        lift_lower=named.get("lift_lower"),
        lift_upper=named.get("lift_upper"),
    )
