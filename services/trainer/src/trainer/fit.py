"""`python -m trainer.fit JOB`: one fit, in a process that can be killed.

Reads the splits beside the job file, checks them, trains, calibrates, chooses the threshold, evaluates,
exports and writes the result beside them. It knows no database, no broker and no network; it says how far
it is on standard output and ends when its standard input closes, so it never outlives its trainer.
"""

import importlib.metadata
import os
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from common.artifacts import Manifest
from trainer import estimators
from trainer.core.columns import Columns, Facts, choose, facts, named_like_labels
from trainer.core.dataset import NANOSECONDS, Rejection, Rules, Usable, usable
from trainer.core.interpretation import Interpretation, interpret
from trainer.core.pooling import evidence
from trainer.core.promotion import Evidence
from trainer.core.recipe import TargetType
from trainer.evaluation import Evaluated, champion, class_returns, evaluate
from trainer.evidence import pooled
from trainer.export import ROWS_PER_KIND, Exported, export
from trainer.job import ONNX, RESULT, SPLITS, UBJ, UNNUMBERED, Fitted, Job, Result, SplitName
from trainer.model import Model, Recipe
from trainer.reading import Layer, Rows, SplitFile, lay, open_split
from trainer.scored_rows import ROWS, write_rows

NICENESS = 10
"""Whoever trades on the same machine comes first."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The dataset as the fit sees it: checked rows, chosen columns, features within reach."""

    files: dict[SplitName, SplitFile]
    usable: Usable
    columns: Columns
    rows: dict[SplitName, Rows]


def main(job_path: Path) -> None:
    """The result lies beside the job."""
    directory = job_path.parent
    job = msgspec.json.decode(job_path.read_bytes(), type=Job)
    result = pooled(job, directory, run(job, directory), fit=run)
    if result.fitted:
        peak = msgspec.structs.replace(result.fitted, peak_memory_bytes=_peak_memory_bytes())
        result = msgspec.structs.replace(result, fitted=peak)
    unfinished = directory / f"{RESULT}.part"
    unfinished.write_bytes(msgspec.json.encode(result))
    unfinished.rename(directory / RESULT)


def run(job: Job, directory: Path) -> Result:
    """The whole fit, in order; the model's files are in `directory` where there is a model."""
    clock = _Clock()
    _say(stage="read")
    prepared = prepare(job, directory)
    if isinstance(prepared, Rejection):
        return Result(rejection=prepared)
    clock.lap("read")

    rng = np.random.default_rng(job.seed)
    recipe = recipe_of(job, prepared)
    model = estimators.train(recipe, prepared.rows["train"], prepared.rows["validation"], _progress)
    clock.lap("fit")

    _say(stage="evaluate")
    outputs = recipe.classes or 1
    validation, test = (
        estimators.answers(model, prepared.rows[name], outputs=outputs) for name in ("validation", "test")
    )
    interpretation = interpret(validation, prepared.usable.validation, prepared.usable.labels)
    found = evaluate(job, prepared.usable, {"validation": validation, "test": test}, interpretation)
    gathered, notes = _evidence(job, prepared, found, directory, rng)
    clock.lap("evaluate")

    _say(stage="export")
    exported = export(
        model,
        prepared.rows[found.source].first(ROWS_PER_KIND),
        output_name=recipe.output_name(),
        lean=interpretation.leaning,
        threshold=found.threshold(),
        rng=rng,
    )
    (directory / ONNX).write_bytes(exported.onnx)
    if exported.ubj is not None:
        (directory / UBJ).write_bytes(exported.ubj)
    clock.lap("export")
    return Result(
        fitted=Fitted(
            manifest=_manifest(
                job,
                prepared,
                model=model,
                exported=exported,
                interpretation=interpretation,
                found=found,
            ),
            evidence=gathered,
            metrics=found.metrics,
            confusion=found.confusion,
            reliability=found.reliability,
            trades=found.trades,
            rows={name: len(rows) for name, rows in prepared.rows.items()},
            parameters={**model.parameters, "class_weights": str(job.class_weights)},
            rounds=model.rounds,
            parity=exported.parity,
            notes=(*_missing(job), *prepared.usable.notes, *prepared.columns.notes, *notes),
            seconds=clock.laps,
            peak_memory_bytes=_peak_memory_bytes(),
        )
    )


def prepare(job: Job, directory: Path) -> Prepared | Rejection:
    """The dataset beside the job, checked and laid down for the fit; or why no model can be trained on it."""
    files: dict[SplitName, SplitFile] = {}
    for name in SPLITS:
        file = job.splits[name]
        opened = open_split(
            directory / file if file else None,
            name=name,
            symbol=job.symbol,
            volatility=job.volatility_feature if job.target_type is TargetType.RISK_ADJUSTED else None,
        )
        if isinstance(opened, Rejection):
            return opened
        files[name] = opened
    rows = usable(files["train"].split, files["validation"].split, files["test"].split, _rules(job))
    if isinstance(rows, Rejection):
        return rows
    excluded = frozenset(job.excluded_features)
    if wrong := named_like_labels(files["train"].split.names, excluded):
        return wrong
    seen, train = _seen(files["train"], rows, excluded, directory / "train.f32")
    columns = choose(seen, sorted(excluded & set(files["train"].split.names)))
    if isinstance(columns, Rejection):
        return columns
    return Prepared(
        files=files,
        usable=rows,
        columns=columns,
        rows={
            "train": train,
            "validation": lay(
                files["validation"], rows.validation, columns.names, directory / "validation.f32"
            ),
            "test": lay(files["test"], rows.test, columns.names, directory / "test.f32"),
        },
    )


def recipe_of(job: Job, prepared: Prepared) -> Recipe:
    """How the job's model is fitted to these columns and labels."""
    return Recipe(
        model=job.model_type,
        classes=len(prepared.usable.labels),
        class_weights=job.class_weights,
        medians=tuple(prepared.columns.medians[name] for name in prepared.columns.names),
        seed=job.seed,
        threads=job.threads,
        in_memory_bytes=job.in_memory_bytes,
        scheduler=job.scheduler,
    )


def _rules(job: Job) -> Rules:
    return Rules(
        target=job.target_type,
        horizon_s=job.horizon_s,
        min_train_rows=job.min_train_rows,
        min_class_share=job.min_class_share,
        test_end_ns=round(job.test_end.timestamp()) * NANOSECONDS,
    )


# Each column of train is read once: looked at, and laid down where it says something.
def _seen(train: SplitFile, rows: Usable, excluded: frozenset[str], path: Path) -> tuple[list[Facts], Rows]:
    found: list[Facts] = []
    with Layer(path) as layer:
        for name in train.split.names:
            if name in excluded:
                continue
            values = train.column(name, rows.train.kept)
            found.append(facts(name, values, rows.train.target, rows.labels))
            if not found[-1].is_dropped():
                layer.add(values)
    return found, Rows(rows.train, path, layer.columns)


def _evidence(
    job: Job, prepared: Prepared, found: Evaluated, directory: Path, rng: np.random.Generator
) -> tuple[Evidence, tuple[str, ...]]:
    write_rows(directory / ROWS, found.scored)
    part = prepared.usable.test if found.source == "test" else prepared.usable.validation
    rival, unscored = champion(job, prepared.files[found.source], part, prepared.usable.labels, directory)
    validation = found.metrics["validation"]
    gathered = evidence(
        found.scored,
        source=found.source,
        horizon_rows=prepared.usable.horizon_rows,
        majority_label=prepared.usable.majority(),
        roc_auc=found.metrics[found.source].get("roc_auc"),
        validation_lift=validation["accuracy"] - validation["baseline_accuracy"],
        validation_effective_rows=len(prepared.usable.validation) / prepared.usable.horizon_rows,
        champion=rival,
        unscored=unscored,
        draws=rng,
    )
    return gathered, (unscored,) if unscored else ()


def _manifest(
    job: Job,
    prepared: Prepared,
    *,
    model: Model,
    exported: Exported,
    interpretation: Interpretation,
    found: Evaluated,
) -> Manifest:
    labels, train = prepared.usable.labels, prepared.usable.train
    rates = np.bincount(train.classes, minlength=len(labels)) / len(train)
    return Manifest(
        version=UNNUMBERED,
        strategy_id=job.strategy_id,
        symbol=job.symbol,
        model_type=job.model_type.value,
        task="classification" if labels else "regression",
        target=job.target_type.value,
        volatility_feature=job.volatility_feature if job.target_type is TargetType.RISK_ADJUSTED else None,
        features=prepared.columns.names,
        optional_features=prepared.columns.optional,
        medians=prepared.columns.medians,
        labels=labels,
        class_returns=class_returns(job, prepared.usable) if labels else (),
        output_name=recipe_of(job, prepared).output_name(),
        horizon_s=job.horizon_s,
        label_threshold=job.label_threshold if labels else 0.0,
        threshold=found.threshold(),
        calibration=interpretation.calibration,
        sign_confidence=interpretation.sign_confidence,
        class_rates=tuple(rates.tolist()) if labels else (),
        baselines=_baselines(found.metrics),
        dataset_id=job.dataset_id,
        dataset_sha256=job.dataset_sha256,
        feature_registry_version=job.feature_registry_version,
        libraries={name: importlib.metadata.version(name) for name in ("numpy", "onnx", "onnxruntime")}
        | model.libraries,
        golden=exported.golden,
        trained_at=datetime.now(UTC),
    )


def _missing(job: Job) -> tuple[str, ...]:
    return tuple(f"{split}: missing ({reason})" for split, reason in job.missing.items())


def _baselines(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: figures["baseline_accuracy"] for name, figures in metrics.items()}


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._since = round(now - self._since, 3), now


# Not ru_maxrss: it counts what the trainer that started this process held at that moment.
def _peak_memory_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024


def _progress(round_: int, score: float) -> None:
    _say(stage="fit", round=round_, score=score)


def _say(**progress: object) -> None:
    sys.stdout.write(msgspec.json.encode(progress).decode() + "\n")
    sys.stdout.flush()


def _end_with_the_trainer() -> None:
    while os.read(sys.stdin.fileno(), 1024):  # unbuffered: its lock would be held at a regular end
        pass
    os._exit(1)


if __name__ == "__main__":
    os.nice(NICENESS)
    threading.Thread(target=_end_with_the_trainer, daemon=True).start()
    main(Path(sys.argv[1]))
