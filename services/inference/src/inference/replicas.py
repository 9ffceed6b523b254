"""What this replica decides with, told to the fleet: a row per strategy with a heart-beat.

The rows say what is, not what should be: they are rewritten from the served models with every beat. A replica
that stops in order takes its rows along; those of one that died are removed by the others.
"""

from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import ARRAY, Text, all_, bindparam, delete, func, or_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from common.database import DATABASE_ERRORS, store
from common.errors import first_line
from common.tables import served_versions
from inference.events import Event
from inference.models import NOT_READ, ServedModels

log = structlog.get_logger(__name__)

HEART_BEAT_S = 5.0
"""How often a replica reports."""
FORGOTTEN_AFTER_S = 3600.0
"""Rows without a heart-beat for so long are removed by whoever reports, by the database's clock."""

_TABLE = served_versions.c
_GIVEN = insert(served_versions)
_REPORT = _GIVEN.on_conflict_do_update(
    index_elements=["replica", "strategy_id"],
    set_={
        column.name: _GIVEN.excluded[column.name]
        for column in _TABLE
        if not column.primary_key and column is not _TABLE.heart_beat_at
    }
    | {"heart_beat_at": func.now()},
)
_FORGET = delete(served_versions).where(
    or_(
        _TABLE.heart_beat_at < func.now() - timedelta(seconds=FORGOTTEN_AFTER_S),
        (_TABLE.replica == bindparam("replica"))
        & (_TABLE.strategy_id != all_(bindparam("strategies", type_=ARRAY(Text)))),
    )
)


class Replica:
    """This process as the fleet knows it."""

    def __init__(self, name: str, models: ServedModels, engine: AsyncEngine) -> None:
        self._name = name
        self._models = models
        self._engine = engine
        self._started_at = datetime.now(UTC)

    async def beat(self) -> None:
        """The fleet knows what serves every strategy here, now."""
        strategies = self._models.strategies
        async with self._engine.begin() as connection:
            await store(connection, _REPORT, map(self._row, strategies))
            await connection.execute(_FORGET, {"replica": self._name, "strategies": list(strategies)})

    async def leave(self) -> None:
        """The fleet counts on this replica no more; where that cannot be stored its heart-beat runs out."""
        try:
            async with self._engine.begin() as connection:
                await connection.execute(
                    delete(served_versions).where(served_versions.c.replica == self._name)
                )
        except DATABASE_ERRORS as error:
            log.warning(Event.REPLICA_NOT_REMOVED, replica=self._name, reason=first_line(error))

    def _row(self, strategy_id: str) -> dict[str, object]:
        serving = self._models.of(strategy_id)
        model = serving.loaded.model if serving and serving.loaded else None
        return {
            "replica": self._name,
            "strategy_id": strategy_id,
            "state": serving.state if serving else "unavailable",
            "version": model.version if model else None,
            "sha256": model.sha256 if model else None,
            "epoch": serving.active.epoch if serving and serving.active else 0,
            "since": serving.since if serving else self._started_at,
            "problem": serving.problem if serving else NOT_READ,
        }
