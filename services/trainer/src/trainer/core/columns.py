"""A dataset's features: which of them can be a model's input?

A column that says nothing is dropped with a note, too many of them reject the dataset; so does one that says
too much: a feature that alone ranks the outcome almost perfectly was not known at its instant.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from trainer.core.dataset import Floats, Rejection, rejected

MAX_MISSING_SHARE = 0.5
"""A feature missing more often in train is dropped."""
OPTIONAL_MISSING_SHARE = 0.01
"""A feature missing more often in train is optional: a live vector may lack it."""
MAX_DROPPED_SHARE = 0.5
"""More dropped features than this reject the dataset: something is wrong with it."""
LEAK_RANKING = 0.98
"""ROC AUC, or rank correlation with a number, that no honest single feature of a market reaches."""
LEAK_SAMPLE_ROWS = 20_000
"""Rows, evenly spaced, that are looked at for a leak."""
LABEL_PREFIXES = ("target", "label", "future_", "forward_", "fwd_")
"""A column named so is a label, whatever it holds."""

Values = npt.NDArray[np.float32]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one feature in train."""

    name: str
    missing_share: float
    is_constant: bool
    median: float
    ranking: float
    """How well it alone ranks the outcome, one half or 0 not at all, 1 perfectly; 0 for a dropped one."""

    def is_dropped(self) -> bool:
        """It says nothing."""
        return self.is_constant or self.missing_share > MAX_MISSING_SHARE


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """The model's inputs, in their order."""

    names: tuple[str, ...]
    optional: tuple[str, ...]
    medians: dict[str, float]
    """Training median of each."""
    notes: tuple[str, ...]


def facts(name: str, values: Values, outcome: Floats, classes: Sequence[float]) -> Facts:
    """Of one feature (n,) with NaN for missing, beside the `outcome` (n,): one of `classes`, or a number."""
    present = values[~np.isnan(values)]
    missing_share = 1 - len(present) / max(1, len(values))
    constant = bool(not len(present) or present.min() == present.max())
    dropped = constant or missing_share > MAX_MISSING_SHARE
    return Facts(
        name=name,
        missing_share=missing_share,
        is_constant=constant,
        median=float(np.median(present)) if len(present) else 0.0,
        ranking=0.0 if dropped else _ranking(values, outcome, classes),
    )


def named_like_labels(names: Iterable[str], excluded: frozenset[str]) -> Rejection | None:
    """A label among the features, by its name."""
    found = [name for name in names if name not in excluded and name.lower().startswith(LABEL_PREFIXES)]
    if not found:
        return None
    return rejected(
        f"{', '.join(found)} among the features is named like a label; MODEL_EXCLUDED_FEATURES leaves it out",
        columns=len(found),
    )


def choose(found: Sequence[Facts], excluded: Sequence[str]) -> Columns | Rejection:
    """The features that can be used, of all that were not `excluded` by name."""
    used = [each for each in found if not each.is_dropped()]
    if not used:
        return rejected("no feature is left: all are missing, constant or excluded", features=0)
    if len(found) - len(used) > MAX_DROPPED_SHARE * len(found):
        return rejected(
            f"{len(found) - len(used)} of {len(found)} features are missing or constant in train, more than "
            f"{MAX_DROPPED_SHARE:.0%}",
            features=len(found),
            dropped=len(found) - len(used),
        )
    best = max(used, key=lambda each: each.ranking)
    if best.ranking > LEAK_RANKING:
        return rejected(
            f"{best.name} nearly is the target: alone it ranks the outcome at {best.ranking:.3f}, above "
            f"{LEAK_RANKING}",
            ranking=best.ranking,
        )
    return Columns(
        names=tuple(each.name for each in used),
        optional=tuple(each.name for each in used if each.missing_share > OPTIONAL_MISSING_SHARE),
        medians={each.name: each.median for each in used},
        notes=(
            *(f"{name}: excluded by MODEL_EXCLUDED_FEATURES" for name in excluded),
            *(_dropped(each) for each in found if each.is_dropped()),
        ),
    )


def _dropped(column: Facts) -> str:
    if column.missing_share > MAX_MISSING_SHARE:
        return f"{column.name}: dropped, missing in {column.missing_share:.0%} of train"
    return f"{column.name}: dropped, constant in train"


def _ranking(values: Values, outcome: Floats, classes: Sequence[float]) -> float:
    step = max(1, len(values) // LEAK_SAMPLE_ROWS)
    seen, came = values[::step], outcome[::step]
    present = ~np.isnan(seen)
    ranks, came = _mean_ranks(seen[present]), came[present]
    if not classes:
        return _correlation(ranks, _mean_ranks(came))
    areas = [_area(ranks, came == each) for each in classes]
    return max(max(area, 1 - area) for area in areas)


# Mann-Whitney: ties count half.
def _area(ranks: Floats, positive: npt.NDArray[np.bool_]) -> float:
    above, below = float(np.sum(positive)), float(np.sum(~positive))
    if not above or not below:
        return 0.5
    return float((np.sum(ranks[positive]) - above * (above + 1) / 2) / (above * below))


def _correlation(one: Floats, other: Floats) -> float:
    if len(one) < 2 or one.min() == one.max() or other.min() == other.max():
        return 0.0
    return abs(float(np.corrcoef(one, other)[0, 1]))


def _mean_ranks(values: npt.NDArray[np.floating]) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks
