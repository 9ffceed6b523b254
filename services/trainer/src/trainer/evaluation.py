"""A fitted model's figures: what it answers on validation and test, and what acting on it would have earned.

Validation calibrates and chooses the threshold; test only judges. Without a test validation stands in, and
its evidence says so.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from common.artifacts import Manifest, read_verified
from common.errors import Unusable
from common.model_storage import store_at
from trainer.core import metrics
from trainer.core.dataset import NANOSECONDS, Part, Usable
from trainer.core.fitted_calibration import sign_confidence
from trainer.core.interpretation import Interpretation
from trainer.core.pooling import Scored, score_classes, score_returns
from trainer.core.promotion import Champion, Source
from trainer.core.recipe import TargetType
from trainer.core.reliability import Bin, reliability
from trainer.core.threshold import Leaning, Trades, acting, choose, moves, results, trades
from trainer.export import score
from trainer.job import ChampionFile, Job
from trainer.reading import SplitFile, lay

MIN_TRADES = 30
"""Fewer say nothing about a threshold, whatever share of the rows they are."""

Floats = npt.NDArray[np.float64]


class Evaluated(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The figures by split, and the rows that the gate looks at."""

    metrics: dict[str, dict[str, float]]
    confusion: dict[str, tuple[tuple[int, ...], ...]]
    reliability: dict[str, tuple[Bin, ...]]
    trades: dict[str, Trades]
    source: Source
    scored: Scored

    def threshold(self) -> float:
        """Chosen on validation."""
        return self.trades["validation"].threshold


def evaluate(
    job: Job, rows: Usable, raw: Mapping[Source, Floats], interpretation: Interpretation
) -> Evaluated:
    """`raw` holds the model's outputs on validation and test (n, outputs)."""
    parts: dict[Source, Part] = {"validation": rows.validation, "test": rows.test}
    source: Source = "test" if len(rows.test) else "validation"
    acted = _trades(job, parts, raw, interpretation)
    threshold = acted["validation"].threshold
    judged = {name: part for name, part in parts.items() if len(part)}
    return Evaluated(
        metrics={name: _metrics(job, rows, part, raw[name], interpretation) for name, part in judged.items()},
        confusion={
            name: metrics.confusion(
                interpretation.probabilities(raw[name]).argmax(axis=1), part.classes, count=len(rows.labels)
            )
            for name, part in judged.items()
            if rows.labels
        },
        reliability={name: _reliability(part, raw[name], interpretation) for name, part in judged.items()},
        trades=acted,
        source=source,
        scored=_scored(
            job,
            rows,
            parts[source],
            raw=raw[source],
            interpretation=interpretation,
            threshold=threshold,
        ),
    )


def class_returns(job: Job, rows: Usable) -> tuple[float, ...]:
    """Mean return over the horizon of each class in train; empty where prices do not say it."""
    moved = moves(rows.train.at_ns, rows.train.price, horizon_ns=_horizon_ns(job))
    known = np.isfinite(moved)
    by_class = [moved[known & (rows.train.classes == each)] for each in range(len(rows.labels))]
    if not all(len(each) for each in by_class):
        return ()
    return tuple(float(np.mean(each)) for each in by_class)


def champion(
    job: Job, split: SplitFile, part: Part, labels: tuple[int, ...], directory: Path
) -> tuple[Champion | None, str]:
    """The active version on the same rows, from its own bytes; or why it cannot be compared."""
    file = job.champion
    if file is None:
        return None, ""
    try:
        accuracy = _accuracy_of(file, job, split, part, labels=labels, scratch=directory / "champion.f32")
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, an operator decides
        return None, f"champion {file.version} could not be scored: {error}"
    return Champion(version=file.version, accuracy=accuracy), ""


def _trades(
    job: Job, parts: Mapping[Source, Part], raw: Mapping[Source, Floats], interpretation: Interpretation
) -> dict[str, Trades]:
    leanings = {name: _leaning(job, part, raw[name], interpretation) for name, part in parts.items()}
    moved = {name: _moved(job, part) for name, part in parts.items()}
    enough = max(MIN_TRADES, round(job.min_trade_share * len(parts["validation"])))
    chosen = choose(
        leanings["validation"],
        moved["validation"],
        job.costs,
        min_trades=enough,
        least_lead=_least_lead(job),
        at_ns=parts["validation"].at_ns,
        horizon_ns=_horizon_ns(job),
    )
    on_test = trades(
        leanings["test"],
        moved["test"],
        job.costs,
        threshold=chosen.threshold,
        least_lead=_least_lead(job),
        at_ns=parts["test"].at_ns,
        horizon_ns=_horizon_ns(job),
    )
    return {"validation": chosen, "test": on_test}


# As inference acts: a class must lead the other side, a number must promise more than it costs.
def _leaning(job: Job, part: Part, raw: Floats, interpretation: Interpretation) -> Leaning:
    leaning = interpretation.leaning(raw)
    if job.target_type is TargetType.CLASSIFICATION:
        return leaning
    promised = leaning.lead if part.volatility is None else leaning.lead * part.volatility
    return msgspec.structs.replace(leaning, lead=promised - job.costs.round_trip())


def _least_lead(job: Job) -> float:
    return job.probability_lead if job.target_type is TargetType.CLASSIFICATION else 0.0


# The price says it best; without one the label does, as far as it goes.
def _moved(job: Job, part: Part) -> Floats:
    instead: Floats
    if job.target_type is TargetType.CLASSIFICATION:
        instead = part.came.astype(np.float64) * job.label_threshold
    elif job.target_type is TargetType.RISK_ADJUSTED and part.volatility is not None:
        instead = part.target * part.volatility
    else:
        instead = part.target
    return moves(part.at_ns, part.price, instead, horizon_ns=_horizon_ns(job))


def _metrics(
    job: Job, rows: Usable, part: Part, raw: Floats, interpretation: Interpretation
) -> dict[str, float]:
    horizon_ns = _horizon_ns(job)
    if not rows.labels:
        side = rows.majority()
        persisted = metrics.persistence(part.at_ns, part.target, horizon_ns=horizon_ns, first=side)
        return metrics.regression(raw[:, 0], part.target, majority=side, persisted=persisted)
    majority = rows.labels.index(rows.majority())
    persisted = metrics.persistence(part.at_ns, part.classes, horizon_ns=horizon_ns, first=majority)
    return metrics.classification(
        interpretation.probabilities(raw),
        part.classes,
        majority=majority,
        labels=rows.labels,
        persisted=persisted.astype(np.int64),
    )


# Of a regression: how often the sign is right, where its table promises so much.
def _reliability(part: Part, raw: Floats, interpretation: Interpretation) -> tuple[Bin, ...]:
    if interpretation.labels:
        probabilities = interpretation.probabilities(raw)
        return reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == part.classes)
    promised = sign_confidence(raw[:, 0], interpretation.sign_confidence)
    return reliability(promised, np.where(raw[:, 0] >= 0, 1, -1) == part.came)


def _scored(
    job: Job,
    rows: Usable,
    part: Part,
    *,
    raw: Floats,
    interpretation: Interpretation,
    threshold: float,
) -> Scored:
    leaning = _leaning(job, part, raw, interpretation)
    acts = acting(leaning, threshold=threshold, least_lead=_least_lead(job))
    net = results(leaning, _moved(job, part), job.costs, acts)
    if rows.labels:
        return score_classes(
            part.at_ns,
            probabilities=interpretation.probabilities(raw),
            classes=part.classes,
            labels=rows.labels,
            majority=rows.labels.index(rows.majority()),
            net=net,
            horizon_ns=_horizon_ns(job),
        )
    return score_returns(
        part.at_ns,
        predicted=raw[:, 0],
        came=part.target,
        majority=rows.majority(),
        net=net,
        horizon_ns=_horizon_ns(job),
    )


def _accuracy_of(
    file: ChampionFile, job: Job, split: SplitFile, part: Part, *, labels: tuple[int, ...], scratch: Path
) -> float:
    artifact = read_verified(store_at(file.root), file.version, file.sha256)
    manifest = artifact.manifest
    if _question(manifest) != (job.horizon_s, job.symbol, str(job.target_type), labels):
        raise Unusable("it answers another question")
    rows = lay(split, part, manifest.features, scratch)
    raw = np.concatenate(
        [score(artifact.onnx, features, output_name=manifest.output_name) for _, features in rows.batches()]
    )
    if not labels:
        return float(np.mean(np.where(raw[:, 0] >= 0, 1, -1) == part.came))
    known = Interpretation(labels=labels, calibration=manifest.calibration)
    return float(np.mean(known.probabilities(raw).argmax(axis=1) == part.classes))


def _question(manifest: Manifest) -> tuple[float, str, str, tuple[int, ...]]:
    return manifest.horizon_s, manifest.symbol, manifest.target, manifest.labels


def _horizon_ns(job: Job) -> int:
    return round(job.horizon_s * NANOSECONDS)
