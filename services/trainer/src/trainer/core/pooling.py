"""Pooling: what do rows that no fit has seen say about a recipe, when one test is too short to say it?

A model's answers on such rows are kept with it. The newest runs of the same recipe are weighed together, no
stretch of time twice, against answers that need no model: always naming train's most frequent outcome, and
naming what came last.
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from trainer.core.bootstrap import Draws, Interval, direction_lift, interval_of_mean
from trainer.core.promotion import Champion, Evidence, Source

Instants = npt.NDArray[np.int64]
Signs = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]

FOLD_SHARE = 0.5
"""Walk-forward folds test at most this share of train: what they are fitted to must resemble it."""
FOLD_VALIDATION_SHARE = 0.15
"""Of train, before each fold's test."""


class Scored(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A model's answers on rows in time order; -1 down, 0 flat, 1 up, of a return its sign."""

    at_ns: Instants
    came: Signs
    named: Signs
    """What the model said."""
    leant: Signs
    """The side it leans to, whatever it names."""
    majority: Signs
    """Most frequent in the train that the model was fitted to."""
    persisted: Signs
    """The newest outcome that was known at the instant; the majority where none was."""
    net: Floats
    """What acting earned after costs, as a fraction of the traded value; NaN: it did not act."""

    def __len__(self) -> int:
        return len(self.at_ns)


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What rows say, with 95 % intervals of a block bootstrap."""

    rows: int
    effective_rows: float
    """Rows over rows per horizon: neighbours within one share their future."""
    accuracy: float
    baseline_accuracy: float
    """Of always naming the majority."""
    lift: Interval
    """Accuracy above the majority's."""
    persistence_lift: Interval
    """Accuracy above that of naming what came last."""
    direction: Interval
    """How often the side leant to is right rather than wrong, a row, above the best constant side."""
    trades: int
    expectancy: Interval
    """Mean result of a trade after costs; 0 without trades."""


class Fold(msgspec.Struct, frozen=True):
    """Rows of train by position: fitted to [0, validation), stopped on [validation, test), tested after."""

    validation: int
    test: int
    end: int


def score_classes(
    at_ns: Instants,
    *,
    probabilities: Floats,
    classes: npt.NDArray[np.int64],
    labels: Sequence[int],
    majority: int,
    net: Floats,
    horizon_ns: int,
) -> Scored:
    """A classifier's answers; `probabilities` (n, labels) are calibrated, `classes` and `majority` indices.

    `net` (n,) is what acting earned, NaN where it does not act. Of two classes without a side, "no move"
    counts as the other side.
    """
    named = np.array(labels, dtype=np.int64)
    sides = named if -1 in labels and 1 in labels else np.where(named == 0, -named.sum(), named)
    likeliest = probabilities.argmax(axis=1)
    up, down = probabilities[:, sides == 1].sum(axis=1), probabilities[:, sides == -1].sum(axis=1)
    return _scored(
        at_ns,
        came=sides[classes],
        named=sides[likeliest],
        leant=np.where(up >= down, 1, -1),
        majority=int(sides[majority]),
        net=net,
        horizon_ns=horizon_ns,
    )


def score_returns(
    at_ns: Instants,
    *,
    predicted: Floats,
    came: Floats,
    majority: int,
    net: Floats,
    horizon_ns: int,
) -> Scored:
    """A regression's answers, held by their signs; `majority` is the more frequent sign in train.

    `net` (n,) is what acting earned, NaN where it does not act.
    """
    side = np.where(predicted >= 0, 1, -1)
    return _scored(
        at_ns,
        came=np.sign(came).astype(np.int64),
        named=side,
        leant=side,
        majority=majority,
        net=net,
        horizon_ns=horizon_ns,
    )


def pool(parts: Sequence[Scored]) -> Scored:
    """All rows in time order; where parts cover the same stretch of time, the one named first holds."""
    kept: list[tuple[Scored, npt.NDArray[np.bool_]]] = []
    spans: list[tuple[int, int]] = []
    for part in parts:
        if not len(part):
            continue
        free = np.ones(len(part), dtype=np.bool_)
        for first, last in spans:
            free &= (part.at_ns < first) | (part.at_ns > last)
        kept.append((part, free))
        spans.append((int(part.at_ns[0]), int(part.at_ns[-1])))
    if not kept:
        return parts[0] if parts else _nothing()
    order = np.argsort(np.concatenate([part.at_ns[free] for part, free in kept]), kind="stable")
    return Scored(
        **{
            name: np.concatenate([getattr(part, name)[free] for part, free in kept])[order]
            for name in Scored.__struct_fields__
        }
    )


def weigh(scored: Scored, *, horizon_rows: float, draws: Draws) -> Proof:
    """What the rows prove; without rows nothing, and every interval is -1 to 1."""
    right = scored.named == scored.came
    by_majority, by_persistence = scored.majority == scored.came, scored.persisted == scored.came

    def above(rival: npt.NDArray[np.bool_]) -> Interval:
        gained = right.astype(np.float64) - rival
        return interval_of_mean(gained, horizon_rows=horizon_rows, draws=draws)

    earned = scored.net[~np.isnan(scored.net)]
    return Proof(
        rows=len(scored),
        effective_rows=len(scored) / horizon_rows,
        accuracy=_mean(right),
        baseline_accuracy=_mean(by_majority),
        lift=above(by_majority),
        persistence_lift=above(by_persistence),
        direction=direction_lift(scored.leant, scored.came, horizon_rows=horizon_rows, draws=draws),
        trades=len(earned),
        expectancy=interval_of_mean(earned, horizon_rows=horizon_rows, draws=draws),
    )


def evidence(
    own: Scored,
    others: Sequence[Scored] = (),
    *,
    source: Source,
    horizon_rows: float,
    majority_label: int,
    roc_auc: float | None,
    validation_lift: float,
    validation_effective_rows: float,
    champion: Champion | None,
    unscored: str = "",
    draws: Draws,
    earlier: tuple[str, ...] = (),
    folds: int = 0,
) -> Evidence:
    """What the gate looks at: the version's own rows, and them pooled with `others`, the first the newest."""
    of_own = weigh(own, horizon_rows=horizon_rows, draws=draws)
    pooled = weigh(pool([own, *others]), horizon_rows=horizon_rows, draws=draws) if others else of_own
    return Evidence(
        source=source,
        rows=pooled.rows,
        effective_rows=pooled.effective_rows,
        horizon_rows=horizon_rows,
        accuracy=of_own.accuracy,
        baseline_accuracy=of_own.baseline_accuracy,
        majority_label=majority_label,
        lift=pooled.lift,
        persistence_lift=pooled.persistence_lift,
        direction=pooled.direction,
        trades=pooled.trades,
        expectancy=pooled.expectancy,
        own_rows=of_own.rows,
        own_effective_rows=of_own.effective_rows,
        own_lift=of_own.lift,
        own_direction=of_own.direction,
        roc_auc=roc_auc,
        validation_lift=validation_lift,
        validation_effective_rows=validation_effective_rows,
        champion=champion,
        unscored=unscored,
        earlier=earlier,
        folds=folds,
    )


def folds(rows: int, *, wanted: int, most: int, min_train_rows: int) -> tuple[Fold, ...]:
    """At most `most` walk-forward folds whose tests have `wanted` rows together, or as many as there may be.

    The tests touch and end with train; none where too little would be left to fit to.
    """
    tested = min(wanted, int(rows * FOLD_SHARE))
    validated = int(rows * FOLD_VALIDATION_SHARE)
    if most < 1 or tested < most or rows - tested - validated < min_train_rows:
        return ()
    borders = [rows - tested + round(tested * each / most) for each in range(most + 1)]
    return tuple(Fold(validation=test - validated, test=test, end=end) for test, end in pairwise(borders))


def _scored(
    at_ns: Instants,
    *,
    came: npt.NDArray[np.int64],
    named: npt.NDArray[np.int64],
    leant: npt.NDArray[np.int64],
    majority: int,
    net: Floats,
    horizon_ns: int,
) -> Scored:
    newest_known = np.searchsorted(at_ns, at_ns - horizon_ns, side="right") - 1
    persisted = np.where(newest_known >= 0, came[np.maximum(newest_known, 0)], majority)
    return Scored(
        at_ns=at_ns,
        came=came.astype(np.int8),
        named=named.astype(np.int8),
        leant=leant.astype(np.int8),
        majority=np.full(len(at_ns), majority, np.int8),
        persisted=persisted.astype(np.int8),
        net=net,
    )


def _nothing() -> Scored:
    none = np.empty(0, np.int8)
    return Scored(
        at_ns=np.empty(0, np.int64),
        came=none,
        named=none,
        leant=none,
        majority=none,
        persisted=none,
        net=np.empty(0),
    )


def _mean(values: npt.NDArray[np.bool_]) -> float:
    return float(np.mean(values)) if len(values) else 0.0
