"""A fitted model becomes a version: judged, on disk, in the registry, and active where it may be.

The artifact is complete on disk first; then one fenced transaction stores version, metrics, verdict, the end
of the run and the activation. The announcement is only a hint.
"""

import asyncio
from collections.abc import Iterator
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
from common.training_runs import Run, State
from trainer import runs
from trainer.core.promotion import Decision, judge
from trainer.events import Event
from trainer.job import ONNX, UBJ, Fitted, Job
from trainer.settings import Settings

log = structlog.get_logger(__name__)

ACTOR = "trainer"


class Registration:
    """Where fitted models end."""

    def __init__(self, settings: Settings, engine: AsyncEngine, broker: RabbitBroker) -> None:
        self._settings = settings
        self._engine = engine
        self._broker = broker

    async def complete(
        self, run: Run, fitted: Fitted, directory: Path, *, job: Job, epoch: int, seconds: float
    ) -> None:
        """The run has succeeded with a new version, active where the policy accepts it.

        `epoch` is the strategy's when its champion was read: a later one leaves the version inactive. Where
        the run is not ours any more nothing is stored.
        """
        decision = judge(fitted.evidence, self._settings.promotion())
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
            evidence=self._evidence(fitted),
            run_id=run.run_id,
        )
        try:
            active = await self._store(run, new, fitted, decision, epoch if decision.activate else None)
        except Conflict as conflict:
            log.warning(Event.VERSION_NOT_ACTIVATED, version=version, reason=str(conflict))
            sentence = f"{decision.sentence}; not activated: {conflict}"
            new = msgspec.structs.replace(new, verdict_sentence=sentence)
            active = await self._store(run, new, fitted, decision, None)
        if active:
            await self._announce(active)

    def _write(self, version: str, fitted: Fitted, directory: Path) -> str:
        return artifacts.write(
            self._settings.model_storage_path,
            version,
            msgspec.structs.replace(fitted.manifest, version=version),
            {artifacts.MODEL: (directory / ONNX).read_bytes(), UBJ: (directory / UBJ).read_bytes()},
        )

    async def _store(
        self, run: Run, new: NewVersion, fitted: Fitted, decision: Decision, epoch: int | None
    ) -> Active | None:
        figures = {
            **(run.figures or {}),
            "verdict": decision.verdict,
            "metrics": fitted.metrics,
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
            await model_registry.add(connection, new, list(_metrics(fitted)))
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
        )
        return active

    async def _announce(self, active: Active) -> None:
        log.info(Event.VERSION_ACTIVATED, version=active.version, epoch=active.epoch)
        announcement = model_registry.announced(active, tracing.current())
        await bus.announce(self._broker, topology.MODEL_ACTIVATED, announcement)

    def _evidence(self, fitted: Fitted) -> dict[str, Any]:
        return {
            "policy": self._settings.model_promotion_policy.value,
            "rules": msgspec.to_builtins(self._settings.promotion()),
            **msgspec.to_builtins(fitted.evidence),
            "trades": msgspec.to_builtins(fitted.trades),
            "rows_by_split": fitted.rows,
            "parity": msgspec.to_builtins(fitted.parity),
            "notes": list(fitted.notes),
            "seconds": fitted.seconds,
            "judged_at": datetime.now(UTC).isoformat(),
        }


def _config(job: Job, fitted: Fitted) -> dict[str, Any]:
    return {
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


def _metrics(fitted: Fitted) -> Iterator[NewMetric]:
    splits: tuple[Literal["validation", "test"], ...] = ("validation", "test")
    for split in splits:
        rows = fitted.rows[split]
        if not rows:
            continue
        acted = fitted.trades[split]
        by_type: dict[MetricType, dict[str, float]] = {
            "classification": dict(fitted.metrics[split]),
            "trading_performance": {
                "trades": float(acted.trades),
                "win_rate": acted.win_rate,
                "expectancy": acted.expectancy,
            },
        }
        if split == "test":
            lift = fitted.evidence.lift
            by_type["classification"] |= {
                "lift": lift.mean,
                "lift_lower": lift.lower,
                "lift_upper": lift.upper,
                "direction_lift": fitted.evidence.direction.mean,
                "direction_lift_lower": fitted.evidence.direction.lower,
            }
        for metric_type, figures in by_type.items():
            for name, value in figures.items():
                yield NewMetric(
                    metric_name=name,
                    metric_value=value,
                    metric_type=metric_type,
                    dataset_split=split,
                    evaluation_dataset_size=rows,
                )
