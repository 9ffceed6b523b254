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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import xgboost

from common.artifacts import Manifest, read_verified
from common.errors import Unusable
from trainer.core.bootstrap import direction_lift, interval_of_mean
from trainer.core.dataset import LABELS, NANOSECONDS, Part, Prepared, Rejection, Rules, Split, prepare
from trainer.core.fitted_calibration import calibrated, fit_tables
from trainer.core.metrics import classification
from trainer.core.promotion import Champion, Evidence
from trainer.core.threshold import Trades, choose, moves, trades
from trainer.export import OUTPUT_NAME, Exported, export, score
from trainer.job import ONNX, RESULT, UBJ, UNNUMBERED, ChampionFile, Fitted, Job, Result, SplitName
from trainer.reading import read_split

PARAMETERS: dict[str, Any] = {
    "objective": "multi:softprob",
    "num_class": len(LABELS),
    "max_depth": 4,
    "eta": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "min_child_weight": 5,
}
MAX_ROUNDS = 500
PATIENCE_ROUNDS = 30
PROGRESS_EVERY_ROUNDS = 10
NICENESS = 10
"""Whoever trades on the same machine comes first."""
MIN_TRADES = 30
"""Fewer say nothing about a threshold, whatever share of the rows they are."""


Floats = npt.NDArray[np.float64]


def main(job_path: Path) -> None:
    """The result lies beside the job."""
    directory = job_path.parent
    job = msgspec.json.decode(job_path.read_bytes(), type=Job)
    result = run(job, directory)
    unfinished = directory / f"{RESULT}.part"
    unfinished.write_bytes(msgspec.json.encode(result))
    unfinished.rename(directory / RESULT)


def run(job: Job, directory: Path) -> Result:
    """The whole fit, in order; the model's files are in `directory` where there is a model."""
    clock = _Clock()
    _say(stage="read")
    splits = [_read(job, directory, name) for name in ("train", "validation", "test")]
    for split in splits:
        if isinstance(split, Rejection):
            return Result(rejection=split)
    train, validation, test = (split for split in splits if isinstance(split, Split))
    prepared = prepare(train, validation, test, _rules(job))
    if isinstance(prepared, Rejection):
        return Result(rejection=prepared)
    clock.lap("read")

    rng = np.random.default_rng(job.seed)
    booster = _train(prepared, job)
    clock.lap("fit")

    _say(stage="evaluate")
    raw = _predict(booster, prepared.validation)
    tables = fit_tables(raw, prepared.validation.classes)
    probabilities = {
        "validation": calibrated(raw, tables),
        "test": calibrated(_predict(booster, prepared.test), tables),
    }
    parts = {"validation": prepared.validation, "test": prepared.test}
    rates = np.bincount(prepared.train.classes, minlength=len(LABELS)) / len(prepared.train)
    majority = int(rates.argmax())
    acted = _trades(job, parts, probabilities)
    metrics = {
        name: classification(probabilities[name], part.classes, majority=majority)
        for name, part in parts.items()
        if len(part)
    }
    champion, champion_note = _champion(job, test, prepared)
    evidence = _evidence(
        prepared,
        probabilities=probabilities,
        metrics=metrics,
        majority=majority,
        champion=champion,
        rng=rng,
    )
    clock.lap("evaluate")

    _say(stage="export")
    threshold = acted["validation"].threshold
    exported = export(
        booster,
        (prepared.test if len(prepared.test) else prepared.validation).features,
        tables=tables,
        threshold=threshold,
        rng=rng,
    )
    (directory / UBJ).write_bytes(exported.ubj)
    (directory / ONNX).write_bytes(exported.onnx)
    clock.lap("export")
    return Result(
        fitted=Fitted(
            manifest=_manifest(
                job,
                prepared,
                exported=exported,
                tables=tables,
                threshold=threshold,
                rates=rates,
                metrics=metrics,
            ),
            evidence=evidence,
            metrics=metrics,
            trades=acted,
            rows={"train": len(prepared.train), **{name: len(part) for name, part in parts.items()}},
            parameters={**PARAMETERS, "max_rounds": MAX_ROUNDS, "patience_rounds": PATIENCE_ROUNDS},
            rounds=booster.num_boosted_rounds(),
            parity=exported.parity,
            notes=(*prepared.notes, *champion_note),
            seconds=clock.laps,
        )
    )


def _read(job: Job, directory: Path, name: SplitName) -> Split | Rejection:
    file = job.splits[name]
    return read_split(directory / file if file else None, name=name, symbol=job.symbol)


def _rules(job: Job) -> Rules:
    return Rules(
        horizon_s=job.horizon_s,
        min_train_rows=job.min_train_rows,
        excluded=frozenset(job.excluded_features),
        test_end_ns=round(job.test_end.timestamp()) * NANOSECONDS,
    )


def _train(prepared: Prepared, job: Job) -> xgboost.Booster:
    train = xgboost.QuantileDMatrix(prepared.train.features, prepared.train.classes, nthread=job.threads)
    validation = xgboost.QuantileDMatrix(
        prepared.validation.features, prepared.validation.classes, ref=train, nthread=job.threads
    )
    booster = xgboost.train(
        {**PARAMETERS, "seed": job.seed, "nthread": job.threads},
        train,
        MAX_ROUNDS,
        evals=[(validation, "validation")],
        early_stopping_rounds=PATIENCE_ROUNDS,
        verbose_eval=False,
        callbacks=[_Progress()],
    )
    best = booster[: booster.best_iteration + 1]
    best.set_param({"nthread": job.threads})
    return best


def _predict(booster: xgboost.Booster, part: Part) -> Floats:
    if not len(part):
        return np.empty((0, len(LABELS)))
    return np.asarray(booster.inplace_predict(part.features, missing=np.nan), dtype=np.float64)


def _trades(job: Job, parts: dict[str, Part], probabilities: dict[str, Floats]) -> dict[str, Trades]:
    moved = {
        name: moves(
            part.at_ns,
            part.price,
            part.classes,
            horizon_ns=round(job.horizon_s * NANOSECONDS),
            least_move=job.label_threshold,
        )
        for name, part in parts.items()
    }
    enough = max(MIN_TRADES, round(job.min_trade_share * len(parts["validation"])))
    chosen = choose(probabilities["validation"], moved["validation"], job.costs, min_trades=enough)
    return {
        "validation": chosen,
        "test": trades(probabilities["test"], moved["test"], job.costs, threshold=chosen.threshold),
    }


def _evidence(
    prepared: Prepared,
    *,
    probabilities: dict[str, Floats],
    metrics: dict[str, dict[str, float]],
    majority: int,
    champion: Champion | None,
    rng: np.random.Generator,
) -> Evidence:
    classes = prepared.test.classes
    gained = (probabilities["test"].argmax(axis=1) == classes).astype(float) - (classes == majority)
    test, validation = metrics.get("test", {}), metrics["validation"]
    return Evidence(
        rows=len(prepared.test),
        effective_rows=len(prepared.test) / prepared.horizon_rows,
        accuracy=test.get("accuracy", 0.0),
        baseline_accuracy=test.get("baseline_accuracy", 0.0),
        majority_label=LABELS[majority],
        lift=interval_of_mean(gained, horizon_rows=prepared.horizon_rows, draws=rng),
        direction=direction_lift(
            probabilities["test"], classes, horizon_rows=prepared.horizon_rows, draws=rng
        ),
        roc_auc=test.get("roc_auc"),
        validation_lift=validation["accuracy"] - validation["baseline_accuracy"],
        champion=champion,
    )


def _champion(job: Job, test: Split, prepared: Prepared) -> tuple[Champion | None, tuple[str, ...]]:
    file = job.champion
    if file is None or not len(prepared.test):
        return None, ()
    try:
        accuracy = _accuracy_of(file, job, test, prepared)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it cannot hold its place
        return None, (f"champion {file.version} could not be scored: {error}",)
    return Champion(version=file.version, accuracy=accuracy), ()


def _accuracy_of(file: ChampionFile, job: Job, test: Split, prepared: Prepared) -> float:
    artifact = read_verified(Path(file.root), file.version, file.sha256)
    manifest = artifact.manifest
    if (manifest.horizon_s, manifest.symbol, manifest.labels) != (job.horizon_s, job.symbol, LABELS):
        raise Unusable("it answers another question")
    rows = _columns_of(manifest, test)[np.isin(test.at_ns, prepared.test.at_ns)]
    raw = score(artifact.onnx, rows, output_name=manifest.output_name)
    return float(np.mean(calibrated(raw, manifest.calibration).argmax(axis=1) == prepared.test.classes))


def _columns_of(manifest: Manifest, test: Split) -> npt.NDArray[np.float32]:
    found = {name: index for index, name in enumerate(test.names)}
    rows = np.full((len(test), len(manifest.features)), np.nan, np.float32)
    for column, name in enumerate(manifest.features):
        if name in found:
            rows[:, column] = test.features[:, found[name]]
    return rows


def _manifest(
    job: Job,
    prepared: Prepared,
    *,
    exported: Exported,
    tables: tuple[tuple[tuple[float, float], ...], ...],
    threshold: float,
    rates: Floats,
    metrics: dict[str, dict[str, float]],
) -> Manifest:
    return Manifest(
        version=UNNUMBERED,
        strategy_id=job.strategy_id,
        symbol=job.symbol,
        model_type="xgboost",
        task="classification",
        target="classification",
        features=prepared.names,
        optional_features=prepared.optional,
        medians=prepared.medians,
        labels=LABELS,
        output_name=OUTPUT_NAME,
        horizon_s=job.horizon_s,
        threshold=threshold,
        calibration=tables,
        class_rates=tuple(rates.tolist()),
        baselines={name: figures["baseline_accuracy"] for name, figures in metrics.items()},
        dataset_id=job.dataset_id,
        dataset_sha256=job.dataset_sha256,
        feature_registry_version=job.feature_registry_version,
        libraries={
            name: importlib.metadata.version(name) for name in ("numpy", "onnx", "onnxmltools", "onnxruntime")
        }
        | {"xgboost": xgboost.__version__},
        golden=exported.golden,
        trained_at=datetime.now(UTC),
    )


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._since = round(now - self._since, 3), now


class _Progress(xgboost.callback.TrainingCallback):
    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        if epoch % PROGRESS_EVERY_ROUNDS == 0:
            (score_by_round,) = evals_log["validation"].values()
            _say(stage="fit", round=epoch, log_loss=float(score_by_round[-1]))
        return False


def _say(**progress: object) -> None:
    sys.stdout.write(msgspec.json.encode(progress).decode() + "\n")
    sys.stdout.flush()


def _end_with_the_trainer() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    os.nice(NICENESS)
    threading.Thread(target=_end_with_the_trainer, daemon=True).start()
    main(Path(sys.argv[1]))
