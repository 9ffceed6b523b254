"""The audit of a run: did the fleet keep its promises? Judged from the wire, the ledger and the orders."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

_MINUTE = timedelta(minutes=1)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A signal as the broker gave it to the Order Manager."""

    signal_id: UUID
    strategy_id: str
    symbol: str
    delivered_at: datetime


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A row of signal_outbox, and whether trading_signals has it."""

    signal_id: UUID
    kind: str
    strategy_id: str
    symbol: str
    state: str
    reason: str | None
    created_at: datetime
    published_at: datetime | None
    valid_until: datetime
    feature_timestamp: datetime | None
    is_recorded: bool


class Promises(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration promises."""

    max_age: timedelta
    """Oldest vector that may be acted on, MARKET_DATA_MAX_AGE_SECONDS."""
    signals_per_minute: float
    burst: float
    clock_tolerance: timedelta = timedelta(seconds=1)
    """How far the stamps of two processes and the database may be apart."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run left."""

    deliveries: Sequence[Delivery]
    intents: Sequence[Intent]
    slots_taken_twice: int
    """Warm-up slots with more than one signal."""
    double_orders: Sequence[UUID]
    """Signals with more than one order that was not rejected."""
    balance_rejections: int
    """Orders refused for an insufficient balance."""
    dead_letters: int
    errors: Sequence[str]
    """Log lines of level error, and tracebacks."""
    restarts: int
    """Services that ended by themselves."""


def faults(record: Record, promises: Promises) -> list[str]:
    """One sentence per broken promise; empty: all were kept."""
    return [
        *_duplicates(record),
        *_stale(record, promises),
        *_rate(record, promises),
        *_loose_ends(record),
        *(f"signal {each} was executed more than once" for each in record.double_orders),
        *([f"{record.slots_taken_twice} warm-up slots were used twice"] if record.slots_taken_twice else []),
        *(
            [f"{record.balance_rejections} orders were refused for an insufficient balance"]
            if record.balance_rejections
            else []
        ),
        *([f"{record.dead_letters} messages were dead-lettered"] if record.dead_letters else []),
        *([f"services ended by themselves {record.restarts} times"] if record.restarts else []),
        *(f"logged: {line}" for line in record.errors),
    ]


def _duplicates(record: Record) -> Iterator[str]:
    for signal_id, times in Counter(each.signal_id for each in record.deliveries).items():
        if times > 1:
            yield f"signal {signal_id} was delivered {times} times"
    vectors = Counter(
        (each.strategy_id, each.symbol, each.feature_timestamp)
        for each in record.intents
        if each.kind == "entry"
    )
    for (strategy_id, symbol, at), times in vectors.items():
        if times > 1:
            yield f"{strategy_id} sent {times} entries for one vector of {symbol} ({at})"


def _stale(record: Record, promises: Promises) -> Iterator[str]:
    of_id = {each.signal_id: each for each in record.intents}
    newest: dict[tuple[str, str], datetime] = {}
    for delivery in sorted(record.deliveries, key=lambda each: each.delivered_at):
        intent = of_id.get(delivery.signal_id)
        if intent is None:
            yield f"signal {delivery.signal_id} was delivered and never intended"
            continue
        if delivery.delivered_at > intent.valid_until + promises.clock_tolerance:
            yield f"signal {delivery.signal_id} was delivered after its validity"
        if intent.kind != "entry" or intent.feature_timestamp is None:
            continue
        if intent.created_at - intent.feature_timestamp > promises.max_age + promises.clock_tolerance:
            yield f"signal {delivery.signal_id} was decided on a vector of {intent.feature_timestamp}"
        key = (intent.strategy_id, intent.symbol)
        if intent.feature_timestamp < newest.get(key, intent.feature_timestamp):
            yield f"signal {delivery.signal_id} came after one for a newer vector"
        newest[key] = max(newest.get(key, intent.feature_timestamp), intent.feature_timestamp)


def _rate(record: Record, promises: Promises) -> Iterator[str]:
    entries = sorted(each.created_at for each in record.intents if each.kind == "entry")
    allowed = promises.signals_per_minute + promises.burst
    first = 0
    worst = 0
    for last, at in enumerate(entries):
        while entries[first] <= at - _MINUTE:
            first += 1
        worst = max(worst, last - first + 1)
    if worst > allowed:
        yield f"{worst} entries were decided within a minute, {allowed:g} are allowed"


def _loose_ends(record: Record) -> Iterator[str]:
    delivered = {each.signal_id for each in record.deliveries}
    for each in record.intents:
        if each.state == "pending":
            yield f"signal {each.signal_id} was never finished"
        elif each.state == "expired" and not each.reason:
            yield f"signal {each.signal_id} expired without a reason"
        elif each.state == "expired" and each.signal_id in delivered:
            yield f"signal {each.signal_id} is said to have expired and was delivered"
        elif each.state == "published" and not each.is_recorded:
            yield f"signal {each.signal_id} was published and not recorded"
