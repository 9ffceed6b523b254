"""The active versions, watched: what a version lost since its promotion becomes an alert and a training.

It changes no mode: a degraded version trades on until a better one is proven or an operator takes it away.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common import model_registry, tracing, training_runs
from common.alerts import raise_alert, resolve_alert
from common.errors import Conflict
from common.model_registry import Active, Metric
from common.tables import training_runs as run_rows
from trainer.core.degradation import Figure, Quality, Source, newest_live, quality, training_due
from trainer.events import Event
from trainer.settings import Settings

log = structlog.get_logger(__name__)

DEGRADED = "quality_degraded"
"""Kind of the alert while the active version of a strategy is worse than promised."""
ACTOR = "quality monitor"

ACCURACY = Gauge(
    "flotilla_active_version_accuracy",
    "Newest accuracy of a strategy's active version, as a fraction; NaN but for the source that counts.",
    ["strategy_id", "source"],
)
ACCURACY_LOST = Gauge(
    "flotilla_active_version_accuracy_lost",
    "Accuracy that a strategy's active version lost since its promotion, as a fraction.",
    ["strategy_id"],
)
DEGRADATIONS = Counter(
    "flotilla_quality_degradations", "Versions found worse than promised.", ["strategy_id"]
)


class QualityMonitor:
    """Looks at every strategy's active version, a round at a time."""

    def __init__(self, settings: Settings, engine: AsyncEngine) -> None:
        self._settings = settings
        self._engine = engine

    async def tick(self) -> None:
        """Every alert is open or resolved as the figures have it, and what is degraded is trained anew."""
        for strategy_id in self._settings.strategies():
            async with self._engine.connect() as connection:
                active = await model_registry.active_for(connection, strategy_id)
                found = await self._quality(connection, active) if active else None
            _show(strategy_id, found)
            if active and found and found.degraded:
                await self._degraded(active, found)
            else:
                await self._sound(strategy_id, found)

    async def _quality(self, connection: AsyncConnection, active: Active) -> Quality | None:
        if active.version is None:
            return None
        metrics = await model_registry.metrics_of(connection, active.version, metric_name="accuracy")
        by_source: dict[Source, list[Metric]] = {"live": [], "test": [], "validation": []}
        for metric in metrics:
            if (source := (metric.metadata or {}).get("dataset_split")) in by_source:
                by_source[source].append(metric)
        promised = _promised(by_source)
        if promised is None:
            return None
        figures = {source: [_figure(source, each) for each in found] for source, found in by_source.items()}
        live = newest_live(figures["live"][::-1], min_rows=self._settings.quality_monitor_min_live_rows)
        newest = live or (figures["test"] or figures["validation"])[-1]
        return quality(active.version, promised, newest, drop=self._settings.quality_degradation_drop)

    async def _degraded(self, active: Active, found: Quality) -> None:
        scope, figures = f"strategy:{active.strategy_id}", _figures(active, found)
        async with self._engine.begin() as connection:
            is_new = await raise_alert(connection, DEGRADED, scope, found.sentence, figures=figures)
        if is_new:
            DEGRADATIONS.labels(active.strategy_id).inc()
            log.warning(
                Event.QUALITY_DEGRADED, strategy_id=active.strategy_id, sentence=found.sentence, **figures
            )
        try:
            await self._train(active)
        except Conflict as conflict:  # it is being trained already, or the queue is full: the next round asks
            log.info(Event.TRAINING_REFUSED, strategy_id=active.strategy_id, reason=str(conflict))

    async def _train(self, active: Active) -> None:
        strategy_id = active.strategy_id
        async with self._engine.begin() as connection:
            last, now = await _last_training(connection, strategy_id)
            if not training_due(last, activated_at=active.activated_at, now=now):
                return
            symbol = await self._symbol(connection, active)
            if symbol is None:
                return
            run = await training_runs.request(
                connection,
                strategy_id=strategy_id,
                symbol=symbol,
                trigger="degradation",
                priority="CRITICAL",
                trace_id=tracing.current(),
                requested_by=ACTOR,
                rules=self._settings.queue_rules(),
            )
        log.info(
            Event.TRAINING_REQUESTED,
            run_id=str(run.run_id),
            strategy_id=strategy_id,
            trigger=run.trigger,
            priority=run.priority,
        )

    async def _symbol(self, connection: AsyncConnection, active: Active) -> str | None:
        version = await model_registry.find(connection, active.version or "")
        trained_on = (version.training_config or {}).get("symbol") if version else None
        return trained_on or next(iter(self._settings.symbols_of(active.strategy_id)), None)

    async def _sound(self, strategy_id: str, found: Quality | None) -> None:
        async with self._engine.begin() as connection:
            resolved = await resolve_alert(connection, DEGRADED, f"strategy:{strategy_id}")
        if resolved:
            reason = found.sentence if found else "no version with figures is active"
            log.info(Event.QUALITY_RECOVERED, strategy_id=strategy_id, reason=reason)


async def _last_training(connection: AsyncConnection, strategy_id: str) -> tuple[datetime | None, datetime]:
    row = (
        await connection.execute(
            select(func.max(run_rows.c.requested_at), func.now()).where(
                run_rows.c.strategy_id == strategy_id, run_rows.c.trigger == "degradation"
            )
        )
    ).one()
    return row[0], row[1]


# What was stored with the version: a validation that stood in for its test is not replaced by a later test.
def _promised(by_source: Mapping[Source, Sequence[Metric]]) -> Figure | None:
    sources: tuple[Source, ...] = ("test", "validation")
    rated = [(source, metric) for source in sources for metric in by_source[source]]
    return _figure(*min(rated, key=lambda each: each[1].evaluated_at)) if rated else None


def _figure(source: Source, metric: Metric) -> Figure:
    return Figure(source=source, accuracy=metric.metric_value, rows=metric.evaluation_dataset_size or 0)


def _figures(active: Active, found: Quality) -> dict[str, object]:
    return {
        "version": active.version,
        "promised": found.promised.accuracy,
        "promised_by": found.promised.source,
        "newest": found.newest.accuracy,
        "newest_by": found.newest.source,
        "newest_rows": found.newest.rows,
        "lost": found.lost(),
    }


def _show(strategy_id: str, found: Quality | None) -> None:
    for source in ("live", "test", "validation"):
        is_newest = found is not None and found.newest.source == source
        ACCURACY.labels(strategy_id, source).set(found.newest.accuracy if found and is_newest else math.nan)
    ACCURACY_LOST.labels(strategy_id).set(found.lost() if found else math.nan)
