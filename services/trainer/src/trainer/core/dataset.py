"""A dataset's rows: may a model be trained on them, and on which of them?

What is wrong rejects the whole dataset with a reason and figures; a column that says nothing is only dropped,
with a note. Nothing here repairs: rows are never sorted, filled or relabelled.
"""

from collections.abc import Iterable

import msgspec
import numpy as np
import numpy.typing as npt

LABELS = (-1, 0, 1)
"""Down, flat, up: the label of each class index."""
MAX_MISSING_SHARE = 0.5
"""A feature missing more often in train is dropped."""
OPTIONAL_MISSING_SHARE = 0.01
"""A feature missing more often in train is optional: a live vector may lack it."""
NANOSECONDS = 1_000_000_000

Matrix = npt.NDArray[np.float32]
Instants = npt.NDArray[np.int64]
Classes = npt.NDArray[np.int64]


class Split(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Rows as they were read: nanoseconds since 1970, float32 (n, k), one label each."""

    names: tuple[str, ...]
    at_ns: Instants
    features: Matrix
    target: npt.NDArray[np.float64] | None
    """None where the file has no such column."""
    price: npt.NDArray[np.float64] | None = None
    """Quote currency, where the dataset has the column; for costs, never a model's input."""

    def __len__(self) -> int:
        return len(self.at_ns)


class Part(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Rows of a split that may be used; `classes` are indices into LABELS."""

    at_ns: Instants
    features: Matrix
    classes: Classes
    price: npt.NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.at_ns)


class Prepared(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a model is fitted to, and what was left out of it."""

    names: tuple[str, ...]
    optional: tuple[str, ...]
    medians: dict[str, float]
    """Training median of each feature."""
    train: Part
    validation: Part
    test: Part
    horizon_rows: float
    """Rows of train within one horizon: so many neighbours share their future."""
    notes: tuple[str, ...]


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """Why no model can be trained on a dataset."""

    reason: str
    figures: dict[str, float]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset must fulfil."""

    horizon_s: float
    min_train_rows: int
    excluded: frozenset[str]
    """Features that are never a model's input."""
    test_end_ns: int | None
    """The test's last instant belongs to the next dataset: its period is closed on both ends."""


def prepare(train: Split, validation: Split, test: Split, rules: Rules) -> Prepared | Rejection:
    """The usable rows and columns, purged of labels that look into the next split; or why there are none."""
    named = {"train": train, "validation": validation, "test": test}
    if wrong := _first(_wrong_with(name, split) for name, split in named.items()):
        return wrong
    if wrong := _first(_wrong_between(named)):
        return wrong
    horizon_ns = round(rules.horizon_s * NANOSECONDS)
    test_from = max(test.at_ns[:1], default=None)
    keep = {
        "train": train.at_ns + horizon_ns < validation.at_ns[0],
        "validation": validation.at_ns + horizon_ns < (test_from if test_from is not None else np.inf),
        "test": test.at_ns < (rules.test_end_ns if rules.test_end_ns is not None else np.inf),
    }
    used, dropped = _columns(train, keep["train"], rules.excluded)
    if wrong := _first(_wrong_after_purge(train, validation, keep, used, rules)):
        return wrong
    parts = {name: _part(split, keep[name], used) for name, split in named.items()}
    missing = np.isnan(parts["train"].features).mean(axis=0)
    names = tuple(train.names[index] for index in used)
    optional = missing > OPTIONAL_MISSING_SHARE
    medians = np.nanmedian(parts["train"].features, axis=0)
    return Prepared(
        names=names,
        optional=tuple(name for name, may_lack in zip(names, optional, strict=True) if may_lack),
        medians=dict(zip(names, medians.tolist(), strict=True)),
        **parts,
        horizon_rows=max(1.0, horizon_ns / float(np.median(np.diff(parts["train"].at_ns)))),
        notes=(
            *dropped,
            *(
                f"{name}: {int(np.sum(~kept))} rows at its end purged"
                for name, kept in keep.items()
                if not kept.all()
            ),
        ),
    )


def _wrong_with(name: str, split: Split) -> Rejection | None:
    if split.target is None:
        return _rejected(f"{name} has no column target", rows=len(split))
    if not len(split):
        return None if name == "test" else _rejected(f"{name} has no rows", rows=0)
    steps = np.diff(split.at_ns)
    findings = (
        ("{} rows are not in time order", steps < 0),
        ("{} timestamps are duplicates", steps == 0),
        ("{} labels are NaN", ~np.isfinite(split.target)),
        ("{} labels are neither -1 nor 0 nor 1", ~np.isin(split.target, LABELS)),
    )
    for finding, at in findings:
        if wrong := int(np.sum(at)):
            return _rejected(f"{name}: {finding.format(wrong)}", rows=len(split), wrong=wrong)
    return None


def _wrong_between(named: dict[str, Split]) -> Iterable[Rejection | None]:
    for (name, before), (next_name, after) in (
        (("train", named["train"]), ("validation", named["validation"])),
        (("validation", named["validation"]), ("test", named["test"])),
    ):
        if not len(after):
            continue
        yield (
            _rejected(f"{name} and {next_name} have different columns", columns=len(before.names))
            if before.names != after.names
            else None
        )
        # one shared instant is a closed end, and purged; more is the same time twice
        shared = int(np.sum(before.at_ns > after.at_ns[0]))
        yield (
            _rejected(f"{name} reaches {shared} rows into {next_name}", rows=len(before), wrong=shared)
            if shared
            else None
        )


def _wrong_after_purge(
    train: Split, validation: Split, keep: dict[str, npt.NDArray[np.bool_]], used: list[int], rules: Rules
) -> Iterable[Rejection | None]:
    rows, to_validate = int(np.sum(keep["train"])), int(np.sum(keep["validation"]))
    if rows < rules.min_train_rows:
        yield _rejected(
            f"train has {rows} rows, {rules.min_train_rows} are needed (MODEL_TRAINING_MIN_DATASET_SIZE)",
            rows=rows,
            needed=rules.min_train_rows,
        )
        return
    if not to_validate:
        yield _rejected("validation has no rows left after the purge of the horizon", rows=len(validation))
        return
    assert train.target is not None
    found = np.unique(train.target[keep["train"]])
    if len(found) < 2:
        yield _rejected(f"train has one class only, {int(found[0])}", rows=rows, classes=1)
    if not used:
        yield _rejected("no feature is left: all are missing, constant or excluded", rows=rows, features=0)


def _columns(
    train: Split, keep: npt.NDArray[np.bool_], excluded: frozenset[str]
) -> tuple[list[int], list[str]]:
    used, notes = [], []
    for index, name in enumerate(train.names):
        values = train.features[keep, index]
        present = values[~np.isnan(values)]
        if name in excluded:
            notes.append(f"{name}: excluded by MODEL_EXCLUDED_FEATURES")
        elif len(present) < len(values) * (1 - MAX_MISSING_SHARE) or not len(present):
            notes.append(f"{name}: dropped, missing in {1 - len(present) / max(1, len(values)):.0%} of train")
        elif present.min() == present.max():
            notes.append(f"{name}: dropped, constant in train")
        else:
            used.append(index)
    return used, notes


def _part(split: Split, keep: npt.NDArray[np.bool_], used: list[int]) -> Part:
    assert split.target is not None
    return Part(
        at_ns=split.at_ns[keep],
        features=np.ascontiguousarray(split.features[keep][:, used])
        if len(split)
        else np.empty((0, len(used)), np.float32),
        classes=(split.target[keep].astype(np.int64) - LABELS[0]),
        price=None if split.price is None else split.price[keep],
    )


def _first(findings: Iterable[Rejection | None]) -> Rejection | None:
    return next((finding for finding in findings if finding), None)


def _rejected(reason: str, **figures: float) -> Rejection:
    return Rejection(reason=reason, figures={name: float(value) for name, value in figures.items()})
