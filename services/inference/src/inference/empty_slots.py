"""Warm-up time slots in which nobody in the fleet had a vector: counted, so that the silence has a reason.

Every replica hears of every stream and comes to the same counts, so what it stores is the count of a minute
and the larger one holds: a slot is counted once whatever the number of replicas.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncEngine

from common.database import DATABASE_ERRORS
from common.errors import first_line
from common.tables import latest_outcomes, skip_counts
from inference.core.reasons import Reason
from inference.core.warmup import slots_between
from inference.events import Event
from inference.live_vectors import LiveVectors

log = structlog.get_logger(__name__)

LOOK_INTERVAL_S = 1.0
"""How often ended slots are looked at."""
PATIENCE = timedelta(seconds=2)
"""A slot is judged so long after its end: peers tell what they heard once a second."""
NO_SYMBOL = "*"
"""Stands for the symbols of a strategy that trades all of the stream while there is none."""
_KEPT = timedelta(minutes=5)

Warming = Callable[[], Mapping[str, Sequence[str]]]
"""The strategies that warm up now, each with the symbols it names."""


class EmptySlots:
    """The slots of this process's life in which no vector came for a strategy that warms up."""

    def __init__(
        self,
        engine: AsyncEngine,
        replica: str,
        live: LiveVectors,
        warming: Warming,
        *,
        signals_per_minute: float,
    ) -> None:
        self._engine = engine
        self._replica = replica
        self._live = live
        self._warming = warming
        self._per_minute = signals_per_minute
        self._judged_until = datetime.now(UTC)
        self._counts: Counter[tuple[datetime, str, str]] = Counter()
        self._silent: set[str] = set()

    async def look(self, now: datetime | None = None) -> None:
        """The empty ones of the slots that ended PATIENCE ago are stored as skips with reason no_vector."""
        now = now or datetime.now(UTC)
        warming = self._warming()
        self._silent &= warming.keys()
        newest = {
            subject: slot
            for strategy_id, named in warming.items()
            for subject, slot in self._judge(strategy_id, named, now).items()
        }
        self._judged_until = max(self._judged_until, now - PATIENCE)
        self._counts = Counter({key: n for key, n in self._counts.items() if now - key[0] < _KEPT})
        if newest:
            await self._store(newest, now)

    def _judge(
        self, strategy_id: str, named: Sequence[str], now: datetime
    ) -> dict[tuple[str, str], datetime]:
        symbols = named or self._live.symbols() or (NO_SYMBOL,)
        came = now - timedelta(seconds=self._live.quiet_s(symbols))
        length = timedelta(minutes=1) / self._per_minute
        # A slot is judged by when it ended; one that a vector came in or after is not empty.
        ended = slots_between(self._judged_until - length, now - PATIENCE, self._per_minute)
        empty = [slot for slot in ended if slot > came]
        if not empty:
            if ended:
                self._silent.discard(strategy_id)
            return {}
        if strategy_id not in self._silent:
            self._silent.add(strategy_id)
            facts = {"quiet_s": round((now - came).total_seconds(), 3), "symbols": list(symbols)[:10]}
            log.info(Event.SIGNAL_SKIPPED, reason=Reason.NO_VECTOR, strategy_id=strategy_id, facts=facts)
        for slot in empty:
            minute = slot.replace(second=0, microsecond=0)
            self._counts.update((minute, strategy_id, symbol) for symbol in symbols)
        return {(strategy_id, symbol): empty[-1] for symbol in symbols}

    async def _store(self, newest: Mapping[tuple[str, str], datetime], now: datetime) -> None:
        counts = [
            {
                "minute": minute,
                "strategy_id": strategy_id,
                "symbol": symbol,
                "reason": str(Reason.NO_VECTOR),
                "skips": n,
            }
            for (minute, strategy_id, symbol), n in sorted(self._counts.items())
        ]
        outcomes = [
            {
                "strategy_id": strategy_id,
                "symbol": symbol,
                "feature_timestamp": slot,
                "decided_at": now,
                "outcome": "skip",
                "reason": str(Reason.NO_VECTOR),
                "facts": {"slot": slot.isoformat()},
                "signal_id": None,
                "version": None,
                "replica": self._replica,
            }
            for (strategy_id, symbol), slot in sorted(newest.items())
        ]
        try:
            async with self._engine.begin() as connection:
                await connection.execute(_KEEP_LARGER, counts)
                await connection.execute(_KEEP_NEWER, outcomes)
        except DATABASE_ERRORS as error:
            log.warning(Event.SLOTS_NOT_COUNTED, reason=first_line(error))


def _keeping_larger() -> Insert:
    new = insert(skip_counts)
    return new.on_conflict_do_update(
        index_elements=[column.name for column in skip_counts.primary_key],
        set_={"skips": func.greatest(skip_counts.c.skips, new.excluded.skips)},
    )


def _keeping_newer() -> Insert:
    new = insert(latest_outcomes)
    key = [column.name for column in latest_outcomes.primary_key]
    return new.on_conflict_do_update(
        index_elements=key,
        set_={
            column.name: new.excluded[column.name] for column in latest_outcomes.c if column.name not in key
        },
        where=latest_outcomes.c.feature_timestamp < new.excluded.feature_timestamp,
    )


_KEEP_LARGER = _keeping_larger()
_KEEP_NEWER = _keeping_newer()
