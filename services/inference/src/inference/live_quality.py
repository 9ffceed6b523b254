"""What live predictions are worth, without waiting for fills: scored from later vectors, summed per hour.

Every prediction counts, also one that was answered with HOLD. inference.live_sums keeps all replicas' sums.
"""

import math
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from common.database import DATABASE_ERRORS
from common.errors import first_line
from common.messages import FeatureVector
from inference import live_sums
from inference.core import live_score
from inference.core.alignment import AS_NAMED, Alignment, value_of
from inference.core.live_score import Prediction, Sums, Task
from inference.core.model import Model
from inference.events import Event

log = structlog.get_logger(__name__)

MOST_WAITING = 5_000
"""Predictions of a version that wait for their horizon; of a denser stream some are left unscored, evenly."""


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
        self.pending: dict[live_sums.Key, Sums] = {}
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
        waiting = sorted(self.pending)
        for first in range(0, len(waiting), live_sums.STORED_TOGETHER):
            together = waiting[first : first + live_sums.STORED_TOGETHER]
            sums, stored = {key: self.pending.pop(key) for key in together}, False
            try:
                async with self._engine.begin() as connection:
                    await live_sums.add(connection, sums, self._tasks)
                stored = True
            except DATABASE_ERRORS as error:
                log.warning(Event.LIVE_QUALITY_KEPT, versions=len(sums), reason=first_line(error))
            finally:  # also when the service stops meanwhile: its last flush is still to come
                if not stored:
                    for key, kept in sums.items():
                        self._add(*key, kept)
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
