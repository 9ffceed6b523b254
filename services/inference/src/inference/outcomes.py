"""What came of each vector: logged once per change, counted always, stored for the whole fleet.

Two things are stored, by every replica every two seconds: how often there was no signal, by minute and
reason, and the latest outcome of each strategy and symbol with its figures. Latest is by the vector's time,
so whoever works off a backlog does not hide what another replica decided meanwhile.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
import structlog
from prometheus_client import Counter as Metric
from prometheus_client import Gauge
from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncEngine

from common.database import DATABASE_ERRORS, store
from common.errors import first_line
from common.messages import FeatureVector, TradingSignal
from common.signal_outbox import Claim
from common.tables import latest_outcomes, skip_counts
from inference.core.reasons import Reason, Skip
from inference.events import Event

log = structlog.get_logger(__name__)

VECTORS = Metric("flotilla_vectors", "Feature vectors received.")
SIGNALS = Metric("flotilla_signals", "Signals that ended so.", ["strategy_id", "fate"])
SKIPS = Metric("flotilla_skips", "Decisions that gave no signal.", ["strategy_id", "reason"])
DECIDED_AT = Gauge(
    "flotilla_decision_timestamp_seconds",
    "When a strategy decided last, Unix time; until it does: when the process began.",
    ["strategy_id"],
)

MAX_KEPT = 50_000
"""Counts that wait for a database at most; beyond it the oldest minutes are lost."""

_Subject = tuple[str, str]
_CountKey = tuple[datetime, str, str, Reason]
_decoder = msgspec.json.Decoder(TradingSignal)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy made of a symbol's vector."""

    strategy_id: str
    symbol: str
    feature_timestamp: datetime
    decided_at: datetime
    outcome: Literal["signal", "skip"]
    reason: Reason | None
    """None: a signal."""
    facts: Mapping[str, object]
    signal_id: UUID | None
    version: str | None
    """What decided; None: warm-up, or nothing got so far."""


class Outcomes:
    """The outcomes of this process: the last of each strategy and symbol, and what is not stored yet."""

    def __init__(self, replica: str, strategies: Iterable[str] = ()) -> None:
        self._replica = replica
        for strategy_id in strategies:
            DECIDED_AT.labels(strategy_id).set_to_current_time()
        self._last: dict[_Subject, Reason | None] = {}
        self._newest: dict[_Subject, datetime] = {}
        self._latest: dict[_Subject, Outcome] = {}
        self._counts: Counter[_CountKey] = Counter()

    def note_skip(
        self,
        strategy_id: str,
        vector: FeatureVector,
        skip: Skip,
        now: datetime,
        version: str | None = None,
    ) -> None:
        """Counted; logged where the reason differs from the strategy's and symbol's last outcome.

        `version`: the model that had a part in it, where the skip's own facts do not name it.
        """
        symbol = vector.symbol
        SKIPS.labels(strategy_id, skip.reason).inc()
        self._counts[now.replace(second=0, microsecond=0), strategy_id, symbol, skip.reason] += 1
        named = skip.facts.get("version")
        outcome = Outcome(
            strategy_id=strategy_id,
            symbol=symbol,
            feature_timestamp=vector.timestamp,
            decided_at=now,
            outcome="skip",
            reason=skip.reason,
            facts=skip.facts,
            signal_id=None,
            version=named if isinstance(named, str) else version,
        )
        self._remember(outcome)
        if self._last.get((strategy_id, symbol)) is not skip.reason:
            self._last[strategy_id, symbol] = skip.reason
            log.info(
                Event.SIGNAL_SKIPPED,
                reason=skip.reason,
                facts=skip.facts,
                price=vector.features.get("mid_price"),
                feature_timestamp=vector.timestamp.isoformat(),
            )

    def note_left_out(self, strategies: Iterable[str], symbol: str, now: datetime) -> None:
        """Each strategy skipped a vector for a newer one that waits: counted, and no outcome of its own."""
        minute = now.replace(second=0, microsecond=0)
        for strategy_id in strategies:
            SKIPS.labels(strategy_id, Reason.VECTOR_SUPERSEDED).inc()
            self._counts[minute, strategy_id, symbol, Reason.VECTOR_SUPERSEDED] += 1

    def note_signal(self, strategy_id: str, vector: FeatureVector, claim: Claim, now: datetime) -> None:
        """The strategy's signal is its latest outcome; its next skip is logged whatever the reason."""
        self._last[strategy_id, vector.symbol] = None
        signal = _decoder.decode(claim.body)
        self._remember(
            Outcome(
                strategy_id=strategy_id,
                symbol=vector.symbol,
                feature_timestamp=vector.timestamp,
                decided_at=now,
                outcome="signal",
                reason=None,
                facts={
                    "side": signal.signal_type,
                    "amount": signal.amount,
                    "price": signal.market_data_snapshot.price,
                    "confidence": signal.confidence,
                    **(signal.metadata or {}),
                },
                signal_id=signal.signal_id,
                version=signal.model_version,
            )
        )

    async def flush(self, engine: AsyncEngine) -> None:
        """What was noted so far is stored; where that fails it stays for the next flush."""
        counts, self._counts = self._counts, Counter()
        latest, self._latest = self._latest, {}
        try:
            async with engine.begin() as connection:
                # In one order in every replica: two that store the same rows wait, they do not deadlock.
                await store(connection, _ADD_SKIPS, _count_rows(counts))
                await store(
                    connection, _KEEP_NEWER, (self._row(latest[subject]) for subject in sorted(latest))
                )
        except asyncio.CancelledError:  # the service stops: its last flush is still to come
            self._keep(counts, latest)
            raise
        except DATABASE_ERRORS as error:
            self._keep(counts, latest)
            lost = self._drop_oldest()
            reason = first_line(error)
            log.warning(Event.OUTCOMES_KEPT, reason=reason, rows=len(self._counts), lost=lost)

    def _keep(self, counts: Counter[_CountKey], latest: Mapping[_Subject, Outcome]) -> None:
        self._counts.update(counts)
        self._latest = {**latest, **self._latest}

    def _remember(self, outcome: Outcome) -> None:
        DECIDED_AT.labels(outcome.strategy_id).set(outcome.decided_at.timestamp())
        subject = outcome.strategy_id, outcome.symbol
        # A vector stamped in the future would stay the newest until that future has come.
        stamped = min(outcome.feature_timestamp, outcome.decided_at)
        newest = self._newest.get(subject)
        # Not for the same vector either: that it was decided already is no news.
        if newest is None or stamped > newest:
            self._newest[subject] = stamped
            self._latest[subject] = msgspec.structs.replace(outcome, feature_timestamp=stamped)

    def _row(self, outcome: Outcome) -> dict[str, object]:
        return {
            **msgspec.structs.asdict(outcome),
            "reason": outcome.reason and str(outcome.reason),
            "facts": storable(outcome.facts),
            "replica": self._replica,
        }

    def _drop_oldest(self) -> int:
        surplus = sorted(self._counts)[: max(len(self._counts) - MAX_KEPT, 0)]
        return sum(self._counts.pop(key) for key in surplus)


def storable(value: object) -> Any:
    """`value` as a jsonb column takes it: no NaN or infinity (null), no NUL, what JSON lacks as text."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(name).replace("\x00", ""): storable(each) for name, each in value.items()}
        case str():
            return str(value).replace("\x00", "")
        case Iterable():
            return [storable(each) for each in value]
        case _:
            return str(value)


def _count_rows(counts: Counter[_CountKey]) -> Iterator[dict[str, object]]:
    return (
        {
            "minute": minute,
            "strategy_id": strategy_id,
            "symbol": symbol,
            "reason": str(reason),
            "skips": skips,
        }
        for (minute, strategy_id, symbol, reason), skips in sorted(counts.items())
    )


def _adding_skips() -> Insert:
    new = insert(skip_counts)
    return new.on_conflict_do_update(
        index_elements=_key_of(skip_counts), set_={"skips": skip_counts.c.skips + new.excluded.skips}
    )


def _keeping_newer() -> Insert:
    new = insert(latest_outcomes)
    key = _key_of(latest_outcomes)
    others = [column.name for column in latest_outcomes.c if column.name not in key]
    return new.on_conflict_do_update(
        index_elements=key,
        set_={name: new.excluded[name] for name in others},
        where=latest_outcomes.c.feature_timestamp < new.excluded.feature_timestamp,
    )


def _key_of(table: Table) -> list[str]:
    return [column.name for column in table.primary_key]


_ADD_SKIPS = _adding_skips()
_KEEP_NEWER = _keeping_newer()
