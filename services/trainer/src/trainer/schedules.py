"""The strategies' own requests for training: a first version, and the next one when its time has come.

All that is known stands in the database, so a restart changes nothing, and of several trainers one asks.
"""

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from common import tracing
from common import training_runs as queue
from common.core.training_queue import Priority
from common.errors import Conflict
from common.training_runs import Run
from trainer import runs
from trainer.core.triggers import due
from trainer.events import Event
from trainer.settings import Settings

log = structlog.get_logger(__name__)

_PRIORITIES: dict[str, Priority] = {"bootstrap": "NORMAL", "schedule": "HIGH"}


class Schedules:
    """Asks for the trainings that are due."""

    def __init__(self, settings: Settings, engine: AsyncEngine) -> None:
        self._settings = settings
        self._engine = engine
        self._refused: dict[str, str] = {}

    async def tick(self) -> None:
        """Every strategy that is due has a run, or the reason why not is logged."""
        for strategy_id in self._settings.strategies():
            # A strategy has one model, which is of its first symbol.
            if symbol := next(iter(self._settings.symbols_of(strategy_id)), None):
                await self._look_at(strategy_id, symbol)

    async def _look_at(self, strategy_id: str, symbol: str) -> None:
        try:
            run = await self._ask(strategy_id, symbol)
        except Conflict as error:
            if self._refused.get(strategy_id) != str(error):
                self._refused[strategy_id] = str(error)
                log.warning(Event.TRAINING_REFUSED, strategy_id=strategy_id, reason=str(error))
            return
        self._refused.pop(strategy_id, None)
        if run:
            with runs.bound(run):
                log.info(Event.TRAINING_REQUESTED, trigger=run.trigger, priority=run.priority)

    async def _ask(self, strategy_id: str, symbol: str) -> Run | None:
        settings = self._settings.of_strategy(strategy_id)
        async with self._engine.begin() as connection:
            if await runs.has_unfinished(connection, strategy_id):
                return None
            history, now = await runs.history(connection, strategy_id)
            trigger = due(
                history, settings.schedule(), retry_s=settings.model_training_retry_seconds, now=now
            )
            if trigger is None:
                return None
            return await queue.request(
                connection,
                strategy_id=strategy_id,
                symbol=symbol,
                trigger=trigger,
                priority=_PRIORITIES[trigger],
                trace_id=tracing.current(),
                rules=settings.queue_rules(),
            )
