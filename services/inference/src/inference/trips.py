"""Automatic trips, carried out: every replica looks at the fleet's ledger, one of them stops it.

A trip tightens the stored trading state, never loosens it, with an alert, a log line and a metric, once.
Entries end at the gates; exits go on. The alert is over once somebody has released the scope.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import Counter
from sqlalchemy import ColumnElement, RowMapping, String, and_, cast, func, not_, or_, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.alerts import raise_alert
from common.core.trading_state import FLEET, TradingState, scope_of
from common.database import DATABASE_ERRORS
from common.tables import alerts, orders, signal_outbox, trading_signals, trading_states
from common.trading_log import of_exit_rule
from common.trading_states import tighten_state
from inference.core import trips
from inference.core.trips import Emitted, OutputRun, Repeated, Trip, continued
from inference.events import Event

log = structlog.get_logger(__name__)

ACTOR = "automatic trip"
"""Who acts, in the history of trading states."""
LOOK_BACK = timedelta(hours=1)
"""Duplicates are looked for among signals of this time."""

TRIPS = Counter("flotilla_trips", "Automatic trips that this replica carried out.", ["kind"])

_MINUTE = timedelta(minutes=1)
_CASES = 20
_PATIENT = text("SET LOCAL statement_timeout = '2s'")
_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended('flotilla trips', 0))")
_NOT_A_COPY = ("rejected",)


class Trips:
    """The trips of one replica; its models' outputs are its own, the rest is the fleet's."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        signals_per_minute: int,
        frozen_predictions: int,
        state_initial: TradingState = TradingState.ACTIVE,
    ) -> None:
        self._engine = engine
        self._state_initial = state_initial
        self._signals_per_minute = signals_per_minute
        self._frozen_predictions = frozen_predictions
        self._runs: dict[str, OutputRun] = {}

    def output_seen(self, strategy_id: str, row: Sequence[float], output: Sequence[float]) -> None:
        """The strategy's model answered `row` with `output`, raw; called for every prediction."""
        self._runs[strategy_id] = continued(self._runs.get(strategy_id), row, output, datetime.now(UTC))

    async def look(self) -> None:
        """Whatever has to trip has tripped; alerts of trips that were released are over."""
        unanswered: list[SQLAlchemyError | OSError] = []
        for judge in (self._rate, _signals, _records, _orders):
            # One question that cannot be answered must not keep the others from tripping.
            try:
                async with self._engine.begin() as connection:
                    await connection.execute(_PATIENT)
                    trip = await judge(connection)
                await self._carry_out(trip)
            except DATABASE_ERRORS as error:
                unanswered.append(error)
        for strategy_id, run in list(self._runs.items()):
            await self._carry_out(trips.frozen_output(strategy_id, run, self._frozen_predictions))
        async with self._engine.begin() as connection:
            await _resolve_released(connection)
        if unanswered:
            raise unanswered[0]

    async def _rate(self, connection: AsyncConnection) -> Trip | None:
        return trips.too_many_signals(await _emitted(connection), self._signals_per_minute)

    async def _carry_out(self, trip: Trip | None) -> None:
        if trip is None:
            return
        async with self._engine.begin() as connection:
            await connection.execute(_ALONE)
            changed_at = await _changed_at(connection, trip.scope)
            if changed_at is not None and changed_at >= trip.evidence_at:
                self._forget_answered(trip.scope, changed_at)
                return
            figures = trip.figures
            tripped = await tighten_state(
                connection,
                trip.scope,
                trip.state,
                actor=ACTOR,
                reason=trip.sentence,
                figures=figures,
                initial=self._state_initial,
            )
            is_new = await raise_alert(
                connection, trip.kind, trip.scope, trip.sentence, severity="critical", figures=figures
            )
        if tripped or is_new:
            TRIPS.labels(trip.kind).inc()
            log.error(
                Event.TRADING_TRIPPED,
                kind=trip.kind,
                scope=trip.scope,
                state=trip.state,
                reason=trip.sentence,
                figures=figures,
                tightened=tripped,
            )

    # A released strategy trips again only on a run that began after its release.
    def _forget_answered(self, scope: str, changed_at: datetime) -> None:
        for strategy_id, run in list(self._runs.items()):
            if scope_of(strategy_id) == scope and run.began_at <= changed_at:
                del self._runs[strategy_id]


async def _signals(connection: AsyncConnection) -> Trip | None:
    return trips.duplicate_signal(await _repeated_signals(connection))


async def _records(connection: AsyncConnection) -> Trip | None:
    return trips.duplicate_signal(await _repeated_records(connection))


async def _orders(connection: AsyncConnection) -> Trip | None:
    return trips.duplicate_order(await _repeated_orders(connection))


async def _changed_at(connection: AsyncConnection, scope: str) -> datetime | None:
    found: datetime | None = await connection.scalar(
        select(trading_states.c.changed_at).where(trading_states.c.scope == scope)
    )
    return found


def _since_the_last_change(scope: str) -> ColumnElement[datetime]:
    changed_at = select(trading_states.c.changed_at).where(trading_states.c.scope == scope).scalar_subquery()
    return func.coalesce(changed_at, text("'-infinity'::timestamptz"))


async def _emitted(connection: AsyncConnection) -> Emitted:
    emitted_at = signal_outbox.c.created_at
    row = (
        await connection.execute(
            select(func.count().label("entries"), func.max(emitted_at).label("newest_at")).where(
                signal_outbox.c.kind == "entry",
                signal_outbox.c.state != "expired",
                emitted_at > func.now() - _MINUTE,
                emitted_at > _since_the_last_change(FLEET),
            )
        )
    ).one()
    return Emitted(entries=row.entries, newest_at=row.newest_at)


async def _repeated_signals(connection: AsyncConnection) -> list[Repeated]:
    intents = signal_outbox.c
    newest_at = func.max(intents.created_at)
    rows = await connection.execute(
        select(
            intents.strategy_id,
            intents.symbol,
            cast(intents.feature_timestamp, String).label("feature_timestamp"),
            func.array_agg(intents.signal_id).label("ids"),
            newest_at.label("newest_at"),
        )
        .where(
            intents.kind == "entry",
            intents.state != "expired",
            intents.feature_timestamp.is_not(None),
            intents.created_at > func.now() - LOOK_BACK,
        )
        .group_by(intents.strategy_id, intents.symbol, intents.feature_timestamp)
        .having(func.count() > 1, newest_at > _since_the_last_change(FLEET))
        .limit(_CASES)
    )
    return [_repeated(row, ("strategy_id", "symbol", "feature_timestamp")) for row in rows.mappings()]


# What was published without the outbox: by an older service, or by a bug.
async def _repeated_records(connection: AsyncConnection) -> list[Repeated]:
    signals = trading_signals.c
    feature_timestamp = signals.metadata["feature_timestamp"].astext
    newest_at = func.timezone("UTC", func.max(signals.created_at))
    rows = await connection.execute(
        select(
            signals.strategy_id,
            signals.asset.label("symbol"),
            feature_timestamp.label("feature_timestamp"),
            func.array_agg(signals.signal_id).label("ids"),
            newest_at.label("newest_at"),
        )
        .where(
            signals.timestamp > func.timezone("UTC", func.now()) - LOOK_BACK,
            feature_timestamp.is_not(None),
            not_(of_exit_rule()),
        )
        .group_by(signals.strategy_id, signals.asset, feature_timestamp)
        .having(func.count() > 1, newest_at > _since_the_last_change(FLEET))
        .limit(_CASES)
    )
    return [_repeated(row, ("strategy_id", "symbol", "feature_timestamp")) for row in rows.mappings()]


async def _repeated_orders(connection: AsyncConnection) -> list[Repeated]:
    newest_at = func.timezone("UTC", func.max(orders.c.created_at))
    rows = await connection.execute(
        select(
            cast(orders.c.signal_id, String).label("signal_id"),
            func.array_agg(orders.c.order_id).label("ids"),
            newest_at.label("newest_at"),
        )
        .join(signal_outbox, signal_outbox.c.signal_id == orders.c.signal_id)
        .where(
            signal_outbox.c.created_at > func.now() - LOOK_BACK,
            orders.c.status.not_in(_NOT_A_COPY),
        )
        .group_by(orders.c.signal_id)
        .having(func.count() > 1, newest_at > _since_the_last_change(FLEET))
        .limit(_CASES)
    )
    return [_repeated(row, ("signal_id",)) for row in rows.mappings()]


def _repeated(row: RowMapping, names: Sequence[str]) -> Repeated:
    what = {name: str(row[name]) for name in names}
    return Repeated(what=what, ids=trips.ids_of(row["ids"]), newest_at=row["newest_at"])


async def _resolve_released(connection: AsyncConnection) -> None:
    released = or_(
        and_(trading_states.c.scope == FLEET, trading_states.c.state != TradingState.HALTED),
        and_(trading_states.c.scope != FLEET, trading_states.c.state == TradingState.ACTIVE),
    )
    await connection.execute(
        update(alerts)
        .where(
            alerts.c.kind.in_(trips.KINDS),
            alerts.c.resolved_at.is_(None),
            alerts.c.scope == trading_states.c.scope,
            trading_states.c.changed_at > alerts.c.raised_at,
            released,
        )
        .values(resolved_at=func.now())
    )
