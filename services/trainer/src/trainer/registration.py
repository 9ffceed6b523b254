"""A fitted model becomes a version: judged, on disk, in the registry, and active where it may be.

The artifact is complete on disk first; then one fenced transaction stores version, metrics, verdict, the end
of the run and the activation. The announcement is only a hint.
"""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog
from faststream.rabbit import RabbitBroker
from sqlalchemy.ext.asyncio import AsyncEngine

from common import artifacts, bus, model_registry, topology, tracing
from common.errors import Conflict
from common.model_registry import Active, MetricType, NewMetric, NewVersion
from common.model_storage import store_of
from common.training_runs import Run, State
from trainer import runs
from trainer.core.promotion import Decision, Evidence, Rules, judge
from trainer.events import Event
from trainer.job import ONNX, UBJ, Fitted, Job
from trainer.recipes import recipe_of
from trainer.scored_rows import ROWS
from trainer.settings import Settings

log = structlog.get_logger(__name__)

ACTOR = "trainer"
SUMMED = ("trades", "win_rate", "expectancy", "profit_factor", "sharpe", "max_drawdown")
"""What of a split's trades stands in the quality table; a figure without a value is left out."""


class Registration:
    """Where fitted models end."""

    def __init__(self, settings: Settings, engine: AsyncEngine, broker: RabbitBroker) -> None:
        self._settings = settings
        self._models = store_of(settings)
        self._engine = engine
        self._broker = broker

    async def complete(
        self, run: Run, fitted: Fitted, directory: Path, *, job: Job, epoch: int, seconds: float
    ) -> None:
        """The run has succeeded with a new version, active where the policy accepts it.

        `epoch` is the strategy's when its champion was read: a later one leaves the version inactive. Where
        the run is not ours any more nothing is stored.
        """
        rules = self._settings.of_strategy(run.strategy_id).promotion()
        decision = judge(fitted.evidence, rules)
        metrics, refused = _holdable(_metrics(fitted))
        for reason in refused:
            log.warning(Event.METRIC_REFUSED, reason=reason)
        async with self._engine.begin() as connection:
            version = await model_registry.next_version(connection)
        sha256 = await asyncio.to_thread(self._write, version, fitted, directory)
        new = NewVersion(
            version=version,
            strategy_id=run.strategy_id,
            model_type=fitted.manifest.model_type,
            sha256=sha256,
            trained_at=fitted.manifest.trained_at,
            training_duration_seconds=round(seconds),
            training_dataset_size=fitted.rows["train"],
            training_config=_config(job, fitted),
            verdict=decision.verdict,
            verdict_sentence=decision.sentence,
            evidence={**_evidence(fitted, rules, decision), "figures_refused": refused},
            run_id=run.run_id,
        )
        stored = _Stored(run=run, new=new, fitted=fitted, metrics=metrics)
        try:
            active = await self._store(stored, epoch if decision.activate else None)
        except Conflict as conflict:
            log.warning(Event.VERSION_NOT_ACTIVATED, version=version, reason=str(conflict))
            sentence = f"{decision.sentence}; not activated: {conflict}"
            new = msgspec.structs.replace(new, verdict_sentence=sentence)
            active = await self._store(msgspec.structs.replace(stored, new=new), None)
        if active:
            await self._announce(active)

    def _write(self, version: str, fitted: Fitted, directory: Path) -> str:
        names = [ONNX, UBJ]
        if fitted.evidence.source == "test":  # rows that stopped and calibrated the fit prove nothing later
            names.append(ROWS)
        return artifacts.write(
            self._models,
            version,
            msgspec.structs.replace(fitted.manifest, version=version),
            {name: (directory / name).read_bytes() for name in names if (directory / name).exists()},
        )

    async def _store(self, stored: "_Stored", epoch: int | None) -> Active | None:
        run, new, fitted = stored.run, stored.new, stored.fitted
        figures = {
            **(run.figures or {}),
            "verdict": new.verdict,
            "metrics": _as_json(fitted.metrics),
            "rows": fitted.rows,
            "seconds": fitted.seconds,
        }
        active = None
        async with self._engine.begin() as connection:
            ours = await runs.finish(
                connection,
                run,
                State.SUCCEEDED,
                reason=new.verdict_sentence,
                figures=figures,
                version=new.version,
            )
            if not ours:
                log.warning(Event.TRAINING_SUPERSEDED, version=new.version)
                return None
            await model_registry.add(connection, new, stored.metrics)
            if rescored := _rescored(fitted):
                await model_registry.add_metrics(connection, *rescored)
            if epoch is not None:
                active = await model_registry.activate(
                    connection,
                    new.version,
                    strategy_id=run.strategy_id,
                    actor=ACTOR,
                    reason=new.verdict_sentence,
                    expected_epoch=epoch,
                )
        log.info(
            Event.TRAINING_SUCCEEDED,
            version=new.version,
            verdict=new.verdict,
            sentence=new.verdict_sentence,
            judged_on=fitted.evidence.source,
        )
        return active

    async def _announce(self, active: Active) -> None:
        log.info(Event.VERSION_ACTIVATED, version=active.version, epoch=active.epoch)
        announcement = model_registry.announced(active, tracing.current())
        await bus.announce(self._broker, topology.MODEL_ACTIVATED, announcement)


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    run: Run
    new: NewVersion
    fitted: Fitted
    metrics: list[NewMetric]


def _evidence(fitted: Fitted, rules: Rules, decision: Decision) -> dict[str, Any]:
    return {
        "policy": rules.policy.value,
        "rules": msgspec.to_builtins(rules),
        **_as_json(fitted.evidence),
        "effective_rows_needed": decision.effective_rows_needed,
        "trades_by_split": _as_json(fitted.trades),
        "rows_by_split": fitted.rows,
        "labels": list(fitted.manifest.labels),
        "confusion": msgspec.to_builtins(fitted.confusion),
        "reliability": msgspec.to_builtins(fitted.reliability),
        "parity": msgspec.to_builtins(fitted.parity),
        "notes": list(fitted.notes),
        "seconds": fitted.seconds,
        "peak_memory_bytes": fitted.peak_memory_bytes,
        "judged_at": datetime.now(UTC).isoformat(),
    }


# What is no number is null: JSONB knows no NaN.
def _as_json(value: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _config(job: Job, fitted: Fitted) -> dict[str, Any]:
    return {
        "recipe": recipe_of(job),
        "parameters": fitted.parameters,
        "rounds": fitted.rounds,
        "seed": job.seed,
        "symbol": job.symbol,
        "horizon_s": job.horizon_s,
        "label_threshold": job.label_threshold,
        "probability_threshold": fitted.manifest.threshold,
        "features": list(fitted.manifest.features),
        "dataset_id": job.dataset_id,
        "dataset_sha256": job.dataset_sha256,
        "feature_registry_version": job.feature_registry_version,
    }


def _holdable(metrics: Iterable[NewMetric]) -> tuple[list[NewMetric], list[str]]:
    held, refused = [], []
    for metric in metrics:
        if reason := model_registry.unholdable(metric):
            refused.append(f"{metric.dataset_split} {reason}")
        else:
            held.append(metric)
    return held, refused


def _metrics(fitted: Fitted) -> Iterator[NewMetric]:
    splits: tuple[Literal["validation", "test"], ...] = ("validation", "test")
    for split in splits:
        if not fitted.rows[split]:
            continue
        acted = msgspec.structs.asdict(fitted.trades[split])
        figures = dict(fitted.metrics[split])
        if split == fitted.evidence.source:
            figures |= _proven(fitted.evidence)
        by_type: dict[MetricType, dict[str, float]] = {
            fitted.manifest.task: figures,
            "trading_performance": {name: acted[name] for name in SUMMED if acted[name] is not None},
        }
        for metric_type, named in by_type.items():
            for name, value in named.items():
                yield NewMetric(
                    metric_name=name,
                    metric_value=float(value),
                    metric_type=metric_type,
                    dataset_split=split,
                    evaluation_dataset_size=fitted.rows[split],
                )


def _proven(evidence: Evidence) -> dict[str, float]:
    return {
        "lift": evidence.own_lift.mean,
        "lift_lower": evidence.own_lift.lower,
        "lift_upper": evidence.own_lift.upper,
        "direction_lift": evidence.own_direction.mean,
        "direction_lift_lower": evidence.own_direction.lower,
        "pooled_lift": evidence.lift.mean,
        "pooled_lift_lower": evidence.lift.lower,
        "pooled_direction_lift": evidence.direction.mean,
        "pooled_direction_lift_lower": evidence.direction.lower,
        "pooled_effective_rows": evidence.effective_rows,
    }


# How good the active version still is: its newest figure, on rows that came after its promotion.
def _rescored(fitted: Fitted) -> tuple[str, list[NewMetric]] | None:
    champion = fitted.evidence.champion
    if champion is None:
        return None
    metric = NewMetric(
        metric_name="accuracy",
        metric_value=champion.accuracy,
        metric_type=fitted.manifest.task,
        dataset_split=fitted.evidence.source,
        evaluation_dataset_size=fitted.evidence.own_rows,
    )
    return champion.version, [metric]
