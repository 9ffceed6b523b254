"""What live predictions are worth, without waiting for fills: scored from later vectors, summed per hour.

Every prediction counts, also one that was answered with HOLD. Replicas add their sums in the database; the
figures of a version and hour in model_quality_metrics (split `live`) are made from all of them in the same
transaction, so they are right whoever wrote last.
"""

import math
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import structlog
from sqlalchemy import BigInteger, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.core.ids import NAMESPACE
from common.database import DATABASE_ERRORS, naive_utc
from common.errors import first_line
from common.messages import FeatureVector
from common.model_registry import METRIC_LIMIT
from common.tables import live_sums, model_quality_metrics, model_versions
from inference.core import live_score
from inference.core.alignment import AS_NAMED, Alignment, value_of
from inference.core.live_score import Prediction, Sums, Task
from inference.core.model import Model
from inference.events import Event

log = structlog.get_logger(__name__)

MOST_WAITING = 5_000
"""Predictions of a version that wait for their horizon; of a denser stream some are left unscored, evenly."""
_HOUR = timedelta(hours=1)

_SumsKey = tuple[str, datetime]


class _Waiting:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.horizon = timedelta(seconds=model.horizon_s)
        self.tolerance = live_score.tolerance(model.horizon_s)
        self.least_gap = self.horizon / MOST_WAITING
        self.predictions: deque[Prediction] = deque()


class LiveQuality:
    """Predictions of this process that wait for their outcome, and sums that are not stored yet."""

    def __init__(self, engine: AsyncEngine, alignment: Alignment = AS_NAMED) -> None:
        self._engine = engine
        self._alignment = alignment
        self._prices: dict[str, tuple[datetime, float]] = {}
        self._waiting: dict[str, dict[str, _Waiting]] = {}
        self.pending: dict[_SumsKey, Sums] = {}
        """Not stored yet, by version and hour."""
        self._tasks: dict[str, Task] = {}

    @property
    def waiting(self) -> int:
        """Predictions whose horizon has not passed."""
        return sum(len(each.predictions) for versions in self._waiting.values() for each in versions.values())

    def observe(self, vector: FeatureVector, price: float) -> None:
        """Predictions whose horizon has passed are scored; call it before the vector is decided on."""
        at = vector.timestamp
        self._prices[vector.symbol] = (at, price)
        versions = self._waiting.get(vector.symbol)
        if versions is None:
            return
        for version, waiting in list(versions.items()):
            self._score(waiting, at, price)
            if not waiting.predictions:
                del versions[version]

    def noted(self, model: Model, vector: FeatureVector, answer: tuple[float, ...]) -> None:
        """The model's answer to a vector that was just observed will be scored."""
        at = vector.timestamp
        self._tasks[model.version] = model.task
        seen_at, price = self._prices.get(vector.symbol, (None, math.nan))
        versions = self._waiting.setdefault(vector.symbol, {})
        waiting = versions.get(model.version)
        if waiting is None:
            waiting = versions[model.version] = _Waiting(model)
        name = model.volatility_feature
        volatility = None if name is None else value_of(vector, name, self._alignment)
        usable = (
            seen_at == at
            and all(math.isfinite(each) for each in answer)
            and (volatility is None or volatility > 0)
        )
        dense = waiting.predictions and at - waiting.predictions[-1].at < waiting.least_gap
        if not usable or dense:
            self._add(model.version, at, live_score.unscored())
            return
        waiting.predictions.append(Prediction(at=at, price=price, answer=answer, volatility=volatility))

    async def flush(self) -> None:
        """The sums so far are stored and the figures of their hours renewed; where that fails they stay."""
        for key in sorted(self.pending):
            sums, stored = self.pending.pop(key), False
            try:
                async with self._engine.begin() as connection:
                    await _store(connection, key, sums, self._tasks[key[0]])
                stored = True
            except DATABASE_ERRORS as error:
                log.warning(Event.LIVE_QUALITY_KEPT, version=key[0], reason=first_line(error))
            finally:  # also when the service stops meanwhile: its last flush is still to come
                if not stored:
                    self._add(*key, sums)
        self._forget()

    def _score(self, waiting: _Waiting, at: datetime, price: float) -> None:
        predictions = waiting.predictions
        while predictions and (end := predictions[0].at + waiting.horizon) <= at:
            prediction = predictions.popleft()
            in_time = at <= end + waiting.tolerance
            self._add(
                waiting.model.version,
                prediction.at,
                live_score.scored(prediction, waiting.model, price) if in_time else live_score.unscored(),
            )

    def _forget(self) -> None:
        for symbol, versions in list(self._waiting.items()):
            self._waiting[symbol] = {name: each for name, each in versions.items() if each.predictions}
            if not self._waiting[symbol]:
                del self._waiting[symbol]
        live = {version for versions in self._waiting.values() for version in versions}
        live |= {version for version, _ in self.pending}
        self._tasks = {version: task for version, task in self._tasks.items() if version in live}

    def _add(self, version: str, at: datetime, sums: Mapping[str, float]) -> None:
        key = (version, at.astimezone(UTC).replace(minute=0, second=0, microsecond=0))
        self.pending[key] = live_score.added(self.pending.get(key, {}), sums)


async def _store(connection: AsyncConnection, key: _SumsKey, sums: Sums, task: Task) -> None:
    version, hour = key
    # One writer a version and hour: the figures are made of sums that nobody changes meanwhile.
    lock = uuid5(NAMESPACE, f"live:{version}:{hour.isoformat()}").int >> 65
    await connection.execute(select(func.pg_advisory_xact_lock(literal(lock, BigInteger))))
    new = insert(live_sums).values(
        [{"version": version, "hour": hour, "name": name, "value": value} for name, value in sums.items()]
    )
    await connection.execute(
        new.on_conflict_do_update(
            index_elements=["version", "hour", "name"],
            set_={"value": live_sums.c.value + new.excluded.value},
        )
    )
    rows = await connection.execute(
        select(live_sums.c.name, live_sums.c.value).where(
            live_sums.c.version == version, live_sums.c.hour == hour
        )
    )
    total = {row.name: row.value for row in rows}
    version_id = await connection.scalar(
        select(model_versions.c.id).where(model_versions.c.version == version)
    )
    if version_id is not None:
        await _renew(connection, version_id, hour, total, task)


async def _renew(
    connection: AsyncConnection, version_id: UUID, hour: datetime, total: Sums, task: Task
) -> None:
    described = {
        "dataset_split": "live",
        "hour": hour.isoformat(),
        "confusion": live_score.confusion(total),
    }
    rows = [
        {
            "id": uuid5(version_id, f"{hour.isoformat()}:{name}"),
            "model_version_id": version_id,
            "metric_name": name,
            "metric_value": value,
            "metric_type": task,
            "evaluated_at": naive_utc(min(hour + _HOUR, datetime.now(UTC))),
            "evaluation_dataset_size": round(total.get("scored", 0.0)),
            "metadata": described,
        }
        for name, value in live_score.figures(total, task).items()
        if abs(value) < METRIC_LIMIT
    ]
    new = insert(model_quality_metrics).values(rows)
    renewed = ("metric_value", "evaluated_at", "evaluation_dataset_size", "metadata")
    await connection.execute(
        new.on_conflict_do_update(index_elements=["id"], set_={name: new.excluded[name] for name in renewed})
    )
