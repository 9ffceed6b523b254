"""A dataset's rows: may a model be trained on them, and on which of them?

What is wrong rejects the whole dataset with a reason and figures. Nothing here repairs: rows are never
sorted, filled or relabelled; those whose label looks into the next split are left out.
"""

from collections.abc import Iterable

import msgspec
import numpy as np
import numpy.typing as npt

from trainer.core.overlap import LEAST_EXCESS, excess_agreement
from trainer.core.recipe import TargetType

LABELS = (-1, 0, 1)
"""Down, flat, up: what a class may be."""
NANOSECONDS = 1_000_000_000
MIN_CLASS_SHARE = 0.005
"""A class rarer in train cannot be learnt."""
SHUFFLED_SHARE = 0.25
"""More steps back in time than this are no fault of a few rows: somebody shuffled the split."""

Instants = npt.NDArray[np.int64]
Classes = npt.NDArray[np.int64]
Signs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Split(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A split's rows without their features, in the file's order."""

    names: tuple[str, ...]
    """Of the features."""
    at_ns: Instants
    """Nanoseconds since 1970."""
    target: Floats | None
    """None where the file has no such column."""
    price: Floats | None = None
    """Quote currency, where the dataset has the column; for costs, never a model's input."""
    volatility: Floats | None = None
    """What a risk-adjusted label was divided by, where the dataset has the column."""

    def __len__(self) -> int:
        return len(self.at_ns)


class Part(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The rows of a split that may be used."""

    kept: Mask
    """Which rows of the split these are."""
    at_ns: Instants
    target: Floats
    classes: Classes
    """Index into the labels; empty for a regression."""
    came: Signs
    """-1 down, 0 flat, 1 up; of a return its sign."""
    price: Floats | None
    volatility: Floats | None

    def __len__(self) -> int:
        return len(self.at_ns)


class Usable(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a model may be fitted to and judged by."""

    labels: tuple[int, ...]
    """What train contains, in rising order: two or three; none for a regression."""
    train: Part
    validation: Part
    test: Part
    horizon_rows: float
    """Rows of train within one horizon: so many neighbours share their future."""
    notes: tuple[str, ...]

    def majority(self) -> int:
        """The most frequent outcome in train: -1, 0 or 1."""
        signs, counts = np.unique(self.train.came, return_counts=True)
        return int(signs[counts.argmax()])


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """Why no model can be trained on a dataset."""

    reason: str
    figures: dict[str, float]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset must fulfil."""

    target: TargetType = TargetType.CLASSIFICATION
    horizon_s: float
    min_train_rows: int
    min_class_share: float = MIN_CLASS_SHARE
    test_end_ns: int | None
    """The test's last instant belongs to the next dataset: its period is closed on both ends."""


def usable(train: Split, validation: Split, test: Split, rules: Rules) -> Usable | Rejection:
    """The rows that may be used, purged of labels that look into the next split; or why there are none."""
    named = {"train": train, "validation": validation, "test": test}
    if wrong := _first(_wrong_with(name, split, rules.target) for name, split in named.items()):
        return wrong
    if wrong := _first(_wrong_between(named)):
        return wrong
    horizon_ns = round(rules.horizon_s * NANOSECONDS)
    test_from = test.at_ns[0] if len(test) else np.inf
    in_time: dict[str, Mask] = {
        "train": train.at_ns + horizon_ns < validation.at_ns[0],
        "validation": validation.at_ns + horizon_ns < test_from,
        "test": test.at_ns < (rules.test_end_ns if rules.test_end_ns is not None else np.inf),
    }
    kept = {name: in_time[name] & _has_label(split, rules.target) for name, split in named.items()}
    labels = _labels(train, kept["train"], rules.target)
    if wrong := _first(_wrong_after_purge(named, kept, labels, rules)):
        return wrong
    parts = {name: _part(split, kept[name], labels) for name, split in named.items()}
    horizon_rows = max(1.0, horizon_ns / float(np.median(np.diff(parts["train"].at_ns))))
    if wrong := _first(_out_of_place(name, part, horizon_rows) for name, part in parts.items()):
        return wrong
    return Usable(
        labels=labels,
        **parts,
        horizon_rows=horizon_rows,
        notes=(*_notes(in_time, kept),),
    )


def rejected(reason: str, **figures: float) -> Rejection:
    """A reason with its figures as they are stored."""
    return Rejection(reason=reason, figures={name: float(value) for name, value in figures.items()})


def _wrong_with(name: str, split: Split, target: TargetType) -> Rejection | None:
    if split.target is None:
        return rejected(f"{name} has no column target", rows=len(split))
    if not len(split):
        return None if name == "test" else rejected(f"{name} has no rows", rows=0)
    if target is TargetType.RISK_ADJUSTED and split.volatility is None:
        return rejected(
            f"{name} lacks the volatility of its risk-adjusted target (MODEL_VOLATILITY_FEATURE)",
            rows=len(split),
        )
    steps = np.diff(split.at_ns)
    back = steps < 0
    shuffled = "; the split was shuffled" if np.sum(back) > SHUFFLED_SHARE * len(split) else ""
    labelled = split.target[_has_label(split, target)]
    findings = [
        (f"{{}} rows are not in time order{shuffled}", back),
        ("{} timestamps are duplicates", steps == 0),
        ("{} labels are NaN or infinite", ~np.isfinite(labelled)),
    ]
    if target is TargetType.CLASSIFICATION:
        findings.append(("{} labels are neither -1 nor 0 nor 1", ~np.isin(labelled, LABELS)))
    for finding, at in findings:
        if wrong := int(np.sum(at)):
            return rejected(f"{name}: {finding.format(wrong)}", rows=len(split), wrong=wrong)
    return None


def _wrong_between(named: dict[str, Split]) -> Iterable[Rejection | None]:
    for (name, before), (next_name, after) in (
        (("train", named["train"]), ("validation", named["validation"])),
        (("validation", named["validation"]), ("test", named["test"])),
    ):
        if not len(after):
            continue
        if differ := sorted(set(before.names) ^ set(after.names)):
            yield rejected(
                f"{name} and {next_name} have different columns: only one has {', '.join(differ[:10])}",
                columns=len(before.names),
                different=len(differ),
            )
        # one shared instant is a closed end, and purged; more is the same time twice
        if shared := int(np.sum(before.at_ns > after.at_ns[0])):
            yield rejected(f"{name} reaches {shared} rows into {next_name}", rows=len(before), wrong=shared)


def _out_of_place(name: str, part: Part, horizon_rows: float) -> Rejection | None:
    excess = excess_agreement(part.came, horizon_rows=horizon_rows)
    if excess is None or excess >= LEAST_EXCESS:
        return None
    return rejected(
        f"{name}: labels of neighbouring rows agree no more than those of strangers although they share "
        "their future: the rows were shuffled, their timestamps are not their own",
        rows=len(part),
        excess_agreement=excess,
    )


# A return over a volatility that is unknown or 0 does not exist; no other label may be missing.
def _has_label(split: Split, target: TargetType) -> Mask:
    if target is not TargetType.RISK_ADJUSTED or split.volatility is None:
        return np.ones(len(split), dtype=np.bool_)
    return np.asarray(split.volatility > 0, dtype=np.bool_)


def _labels(train: Split, kept: Mask, target: TargetType) -> tuple[int, ...]:
    assert train.target is not None
    if target is not TargetType.CLASSIFICATION:
        return ()
    return tuple(int(label) for label in np.unique(train.target[kept]))


def _wrong_after_purge(
    named: dict[str, Split], kept: dict[str, Mask], labels: tuple[int, ...], rules: Rules
) -> Iterable[Rejection | None]:
    rows = int(np.sum(kept["train"]))
    if rows < rules.min_train_rows:
        yield rejected(
            f"train has {rows} rows, {rules.min_train_rows} are needed (MODEL_TRAINING_MIN_DATASET_SIZE)",
            rows=rows,
            needed=rules.min_train_rows,
        )
        return
    if not np.any(kept["validation"]):
        yield rejected(
            "validation has no rows left after the purge of the horizon", rows=len(named["validation"])
        )
        return
    targets = {name: split.target[kept[name]] for name, split in named.items() if split.target is not None}
    if rules.target is TargetType.CLASSIFICATION:
        yield from _wrong_with_classes(targets, labels, rules)
    else:
        yield from _wrong_with_numbers(targets)


def _wrong_with_classes(
    targets: dict[str, Floats], labels: tuple[int, ...], rules: Rules
) -> Iterable[Rejection]:
    train = targets["train"]
    if len(labels) < 2:
        yield rejected(f"train has one class only, {labels[0]}", rows=len(train), classes=1)
        return
    for label in labels:
        rows = int(np.sum(train == label))
        if rows < rules.min_class_share * len(train):
            yield rejected(
                f"train has {rows} rows of class {label}, {rows / len(train):.3%} of all and below "
                f"{rules.min_class_share:.3%} (MODEL_TRAINING_MIN_CLASS_SHARE)",
                rows=len(train),
                of_class=rows,
                needed=rules.min_class_share * len(train),
            )
        if not np.any(targets["validation"] == label):
            yield rejected(
                f"validation has no row of class {label}: nothing to calibrate it by",
                rows=len(targets["validation"]),
                of_class=0,
            )
    for name in ("validation", "test"):
        if strange := set(np.unique(targets[name]).astype(int)) - set(labels):
            found = ", ".join(str(label) for label in sorted(strange))
            yield rejected(f"{name} has labels that train lacks: {found}", rows=len(targets[name]))


def _wrong_with_numbers(targets: dict[str, Floats]) -> Iterable[Rejection]:
    for name in ("train", "validation"):
        found = targets[name]
        if found.min() == found.max():
            yield rejected(f"{name}: every label is {found[0]:g}", rows=len(found))
        elif not (np.any(found > 0) and np.any(found < 0)):
            side = "up" if found.max() > 0 else "down"
            yield rejected(f"{name} has one side only, {side}", rows=len(found))


def _part(split: Split, kept: Mask, labels: tuple[int, ...]) -> Part:
    assert split.target is not None
    target = split.target[kept]
    return Part(
        kept=kept,
        at_ns=split.at_ns[kept],
        target=target,
        classes=np.searchsorted(np.array(labels, dtype=np.float64), target).astype(np.int64)
        if labels
        else np.empty(0, np.int64),
        came=np.sign(target).astype(np.int64),
        price=None if split.price is None else split.price[kept],
        volatility=None if split.volatility is None else split.volatility[kept],
    )


def _notes(in_time: dict[str, Mask], kept: dict[str, Mask]) -> Iterable[str]:
    for name, within in in_time.items():
        if purged := int(np.sum(~within)):
            yield f"{name}: {purged} rows at its end purged"
        if unlabelled := int(np.sum(within & ~kept[name])):
            yield f"{name}: {unlabelled} rows without volatility left out"


def _first(findings: Iterable[Rejection | None]) -> Rejection | None:
    return next((finding for finding in findings if finding), None)
