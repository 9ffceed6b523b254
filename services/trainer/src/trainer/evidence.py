"""More evidence than one test has: earlier runs of the recipe, and walk-forward folds inside train.

Runs in the child process of a fit. Folds are only fitted while test and earlier runs have fewer effective
rows than the gate asks for, and never look at validation or test.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from common import artifacts
from common.errors import FleetError
from common.model_storage import store_at
from trainer.core.pooling import Fold, Scored, evidence, folds, pool
from trainer.job import Job, Result, SplitName
from trainer.scored_rows import ROWS, read_rows

FOLDS = 4
"""Models that are fitted for evidence alone, at most."""

Fit = Callable[[Job, Path], Result]


def pooled(job: Job, directory: Path, result: Result, *, fit: Fit) -> Result:
    """`result` with evidence from all rows there are; as it is where nothing was fitted."""
    if result.fitted is None:
        return result
    known = result.fitted.evidence
    own = read_rows((directory / ROWS).read_bytes())
    notes: list[str] = []
    earlier = dict(_earlier(job, notes))
    rows = len(pool([own, *earlier.values()]))
    missing = round(job.evidence_effective_rows * known.horizon_rows) - rows
    walked = list(_walk_forward(job, directory, missing, fit, notes)) if missing > 0 else []
    return Result(
        fitted=msgspec.structs.replace(
            result.fitted,
            evidence=evidence(
                own,
                [*earlier.values(), *walked],
                source=known.source,
                horizon_rows=known.horizon_rows,
                majority_label=known.majority_label,
                roc_auc=known.roc_auc,
                validation_lift=known.validation_lift,
                validation_effective_rows=known.validation_effective_rows,
                champion=known.champion,
                unscored=known.unscored,
                draws=np.random.default_rng(job.seed),
                earlier=tuple(earlier),
                folds=len(walked),
            ),
            notes=(*result.fitted.notes, *notes),
        )
    )


def _earlier(job: Job, notes: list[str]) -> Iterator[tuple[str, Scored]]:
    for file in job.earlier:
        try:
            content = artifacts.read_file(store_at(file.root), file.version, file.sha256, ROWS)
            yield file.version, read_rows(content)
        except FleetError as error:
            notes.append(f"test rows of {file.version} are not pooled: {error}")


def _walk_forward(
    job: Job, directory: Path, missing_rows: int, fit: Fit, notes: list[str]
) -> Iterator[Scored]:
    file = job.splits["train"]
    if file is None:
        return
    train = directory / file
    rows = pl.scan_parquet(train).select(pl.len()).collect().item()
    planned = folds(rows, wanted=missing_rows, most=FOLDS, min_train_rows=job.min_train_rows)
    for number, fold in enumerate(planned, start=1):
        found = _walk(job, train, fold, directory / f"fold_{number}", fit)
        if isinstance(found, str):
            notes.append(f"walk-forward fold {number} is not pooled: {found}")
        else:
            yield found


def _walk(job: Job, train: Path, fold: Fold, directory: Path, fit: Fit) -> Scored | str:
    directory.mkdir(exist_ok=True)
    parts: dict[SplitName, tuple[int, int]] = {
        "train": (0, fold.validation),
        "validation": (fold.validation, fold.test),
        "test": (fold.test, fold.end),
    }
    for name, (start, end) in parts.items():
        part = pl.scan_parquet(train).slice(start, end - start)
        part.sink_parquet(directory / f"{name}.parquet")
    inner = msgspec.structs.replace(
        job,
        splits={name: f"{name}.parquet" for name in parts},
        min_train_rows=1,
        champion=None,
        earlier=(),
        evidence_effective_rows=0.0,
    )
    try:
        result = fit(inner, directory)
    except FleetError as error:
        return str(error)
    if result.fitted is None or result.fitted.evidence.source != "test":
        return result.rejection.reason if result.rejection else "it has no test rows"
    return read_rows((directory / ROWS).read_bytes())
