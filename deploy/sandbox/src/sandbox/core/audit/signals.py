"""Signals: one id and one payload per decision, fresh, in order, in the database, and each executed once."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from common.core.exits.exit_signal import WITHOUT_DATABASE
from sandbox.core.audit.quiet import disturbances, due_at, overlaps
from sandbox.core.audit.record import TRADING_SIGNALS, Heard, Promises, Record, Signal

RECORDING = frozenset({"broker", "database", "inference", "exit_strategy"})
"""Whose faults may delay a row of trading_signals."""


class _Body(msgspec.Struct, frozen=True):
    signal_id: UUID
    strategy_id: str
    asset: str


def faults(record: Record, promises: Promises) -> Iterator[str]:
    """One sentence per broken promise about signals."""
    sent = [each for each in record.wire if each.queue == TRADING_SIGNALS and each.is_sent]
    of_id = {each.signal_id: each for each in record.signals}
    yield from _one_id_per_vector(record)
    yield from _one_payload_per_id(sent, of_id)
    yield from _really_sent(record, promises, sent)
    yield from _in_time(record, promises, sent, of_id)
    yield from _fresh_and_in_order(record, promises)
    yield from _finished(record)
    yield from _recorded_in_time(record, promises, sent)


def _one_id_per_vector(record: Record) -> Iterator[str]:
    ids: dict[tuple[str, str, datetime | None], set[UUID]] = defaultdict(set)
    for each in record.signals:
        if each.kind == "entry":
            ids[each.strategy_id, each.symbol, each.feature_timestamp].add(each.signal_id)
    for (strategy_id, symbol, at), found in ids.items():
        if len(found) > 1:
            yield f"{strategy_id} has {len(found)} ids for one vector of {symbol} ({at}): {_listed(found)}"


def _one_payload_per_id(sent: list[Heard], of_id: dict[UUID, Signal]) -> Iterator[str]:
    bodies: dict[UUID, set[bytes]] = defaultdict(set)
    for each in sent:
        signal_id = msgspec.json.decode(each.body, type=_Body).signal_id
        bodies[signal_id].add(_meant(each.body))
    for signal_id, found in bodies.items():
        known = of_id.get(signal_id)
        if len(found) > 1:
            yield f"signal {signal_id} went over the wire with {len(found)} different payloads"
        if known is None:
            yield f"signal {signal_id} went over the wire and is not in signal_outbox"
        elif _meant(known.payload.encode()) not in found:
            yield f"signal {signal_id} went over the wire with another payload than signal_outbox has"


# Two exit workers that cannot agree, because the database is away, each put their own clock and price
# into the same exit: what it does has to be the same.
def _meant(body: bytes) -> bytes:
    said = msgspec.json.decode(body)
    metadata = said.get("metadata") or {}
    if not metadata.get(WITHOUT_DATABASE):
        return body
    does = [said.get(key) for key in ("strategy_id", "asset", "signal_type")]
    return msgspec.json.encode([*does, metadata.get("lifecycle_id"), metadata.get("size_to_close")])


# Whoever says so before the broker confirmed it loses the signal if it dies in between.
def _really_sent(record: Record, promises: Promises, sent: list[Heard]) -> Iterator[str]:
    heard = {msgspec.json.decode(each.body, type=_Body).signal_id for each in sent}
    deaf = [*record.gaps, *disturbances(record, promises.clock_tolerance * 5)]
    for each in record.signals:
        if each.state != "published" or each.published_at is None or each.signal_id in heard:
            continue
        if not overlaps(deaf, each.created_at, each.published_at + promises.clock_tolerance):
            yield f"signal {each.signal_id} is said to be published at {each.published_at} and was never sent"


def _in_time(
    record: Record, promises: Promises, sent: list[Heard], of_id: dict[UUID, Signal]
) -> Iterator[str]:
    frozen = disturbances(record, promises.clock_tolerance * 5)
    heard: set[UUID] = set()
    for each in sent:
        signal_id = msgspec.json.decode(each.body, type=_Body).signal_id
        is_first, known = signal_id not in heard, of_id.get(signal_id)
        heard.add(signal_id)
        if known is None or each.at <= known.valid_until + promises.clock_tolerance:
            continue
        # The confirm of the first was stored in time: then a tap on a busy machine read it late.
        if is_first and known.published_at is not None and known.published_at <= known.valid_until:
            continue
        # What was given to a frozen broker in time it takes when it wakes: only the tap reads it late.
        if not overlaps(frozen, known.created_at, each.at):
            yield (
                f"signal {known.signal_id} was published at {each.at}, "
                f"{(each.at - known.valid_until).total_seconds():.1f} s after its validity"
            )


def _fresh_and_in_order(record: Record, promises: Promises) -> Iterator[str]:
    newest: dict[tuple[str, str], tuple[datetime, UUID]] = {}
    for each in sorted(record.signals, key=lambda each: each.created_at):
        if each.kind != "entry" or each.feature_timestamp is None:
            continue
        age = each.created_at - each.feature_timestamp
        if age > promises.max_age + promises.clock_tolerance:
            yield f"signal {each.signal_id} was decided on a vector that was {age.total_seconds():.1f} s old"
        before = newest.get((each.strategy_id, each.symbol))
        if before is not None and each.feature_timestamp < before[0]:
            yield (
                f"signal {each.signal_id} of {each.strategy_id} for the vector of {each.symbol} at "
                f"{each.feature_timestamp} came after {before[1]} for a newer one ({before[0]})"
            )
            continue
        newest[each.strategy_id, each.symbol] = (each.feature_timestamp, each.signal_id)


def _finished(record: Record) -> Iterator[str]:
    for each in record.signals:
        if each.state == "pending":
            yield f"signal {each.signal_id} of {each.created_at} was never finished"
        elif each.state == "expired" and not each.reason:
            yield f"signal {each.signal_id} expired without a reason"
        elif each.state == "published" and not each.is_recorded:
            yield f"signal {each.signal_id}, published at {each.published_at}, is not in trading_signals"
        if each.orders > 1:
            yield f"signal {each.signal_id} was executed {each.orders} times"


def _recorded_in_time(record: Record, promises: Promises, sent: list[Heard]) -> Iterator[str]:
    heard: dict[UUID, datetime] = {}
    for each in sent:
        heard.setdefault(msgspec.json.decode(each.body, type=_Body).signal_id, each.at)
    struck = disturbances(record, timedelta(0), RECORDING)
    for known in record.signals:
        if known.recorded_at is None or known.signal_id not in heard:
            continue
        sent_at = heard[known.signal_id]
        if known.recorded_at > due_at(struck, sent_at, promises.recovery):
            yield (
                f"signal {known.signal_id} went over the wire at {sent_at} and was recorded in "
                f"trading_signals only at {known.recorded_at}"
            )


def _listed(ids: set[UUID]) -> str:
    return ", ".join(sorted(map(str, ids)))
