"""Which features a signal came from, told by occlusion: what would the model have said without each one?

Each feature in turn takes its training median, all in one small batch; what the answer changes by is the
feature's contribution. That happens after the publish, on a thread of its own: it never delays a signal, and
a signal whose contributions cannot be had is as good without them.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import structlog
from prometheus_client import Counter
from sqlalchemy import cast, func, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from common.core.calibration import calibrate
from common.database import DATABASE_ERRORS
from common.errors import first_line
from common.messages import Side
from common.tables import trading_signals
from inference.events import Event
from inference.loading import LoadedModel

log = structlog.get_logger(__name__)

METHOD = "occlusion_by_training_median"
TOP = 5
"""Contributions that are kept of each signal."""
ROUND_S = 1.0
"""How often what waits is looked at."""
MOST_WAITING = 200
"""Signals that may wait; beyond it the oldest goes without."""
MOST_ROUNDS = 60
"""Rounds that a signal may not stand in trading_signals yet: it is recorded after its confirm."""
CONTRIBUTIONS = Counter("flotilla_contributions", "Model signals whose contributions ended so.", ["fate"])


class Contribution(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer owes to one feature's value."""

    feature: str
    value: float | None
    """None: the vector lacked it."""
    median: float
    change: float
    """The answer with the value less that with the median."""


class _Waiting(msgspec.Struct, kw_only=True):
    signal_id: UUID
    side: Side
    loaded: LoadedModel
    row: Sequence[float]
    record: dict[str, Any] | None = None
    rounds: int = 0


class Contributions:
    """Model signals of this process whose contributions are still to be stored."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._waiting: deque[_Waiting] = deque()

    @property
    def waiting(self) -> int:
        """Signals whose contributions are not stored."""
        return len(self._waiting)

    def record(self, signal_id: UUID, side: Side, loaded: LoadedModel, row: Sequence[float]) -> None:
        """The signal's contributions will be stored beside it; `row` in the model's order."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            CONTRIBUTIONS.labels("dropped").inc()
        self._waiting.append(_Waiting(signal_id=signal_id, side=side, loaded=loaded, row=row))

    async def store(self) -> None:
        """What waited is stored, but for signals that are not recorded yet."""
        for _ in range(len(self._waiting)):
            waiting = self._waiting.popleft()
            try:
                if waiting.record is None:
                    waiting.record = await asyncio.to_thread(
                        explained, waiting.loaded, waiting.row, waiting.side
                    )
                stored = await self._stored(waiting.signal_id, waiting.record)
            except DATABASE_ERRORS as error:
                self._waiting.append(waiting)
                log.warning(Event.CONTRIBUTIONS_KEPT, reason=first_line(error))
                return
            waiting.rounds += 1
            if stored:
                CONTRIBUTIONS.labels("stored").inc()
            elif waiting.rounds < MOST_ROUNDS:
                self._waiting.append(waiting)
            else:
                CONTRIBUTIONS.labels("unrecorded").inc()

    async def _stored(self, signal_id: UUID, record: dict[str, Any]) -> bool:
        metadata = func.coalesce(trading_signals.c.metadata, cast({}, JSONB))
        async with self._engine.begin() as connection:
            updated = await connection.execute(
                update(trading_signals)
                .where(trading_signals.c.signal_id == signal_id)
                .values(metadata=metadata.op("||")(cast({"contributions": record}, JSONB)))
            )
        return updated.rowcount > 0


def explained(loaded: LoadedModel, row: Sequence[float], side: Side) -> dict[str, Any]:
    """The record of a signal's contributions, the largest first."""
    model = loaded.model
    known = [(index, name) for index, name in enumerate(model.features) if name in loaded.medians]
    occluded = [[*row[:index], loaded.medians[name], *row[index + 1 :]] for index, name in known]
    whole, *without = (
        _of_side(calibrate(raw, model.calibration), model.labels, side)
        for raw in loaded.predict([row, *occluded])
    )
    found = [
        Contribution(
            feature=name,
            value=None if math.isnan(row[index]) else row[index],
            median=loaded.medians[name],
            change=float(f"{whole - answer:.6g}"),
        )
        for (index, name), answer in zip(known, without, strict=True)
        if answer != whole and math.isfinite(answer)
    ]
    top = sorted(found, key=lambda each: (-abs(each.change), each.feature))[:TOP]
    return {
        "method": METHOD,
        "of": f"probability of {side}" if model.labels else "prediction",
        "answer": whole,
        "top": [msgspec.to_builtins(each) for each in top],
    }


def _of_side(answer: Sequence[float], labels: Sequence[int], side: Side) -> float:
    if not labels:
        return answer[0]
    return answer[labels.index(1 if side == "buy" else -1)]
