"""Closing: do the exits of one position close all that is live of it, and none of them more than that?

What is live is what the Position Manager told: a worker may not know of a change for `state_known`, and for
as long as a fault keeps it from hearing.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from sandbox.core.audit.quiet import disturbances, overlaps
from sandbox.core.audit.record import POSITION_UPDATED, Lifecycle, Promises, Record, Signal

Told = Mapping[str, Sequence[tuple[datetime, Decimal]]]


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that closes."""

    signal: Signal
    lifecycle_id: str
    quantity: Decimal
    """What the Order Manager makes of its amount, in base units and whole lots."""
    peak_price: Decimal | None


class _Update(msgspec.Struct, frozen=True):
    asset: str
    size: Decimal
    timestamp: datetime


class _Metadata(msgspec.Struct, frozen=True):
    lifecycle_id: str
    peak_price: Decimal | None = None


class _Snapshot(msgspec.Struct, frozen=True):
    price: Decimal


class _Body(msgspec.Struct, frozen=True):
    metadata: _Metadata
    market_data_snapshot: _Snapshot


def exits_by_lifecycle(record: Record) -> Mapping[str, Sequence[Exit]]:
    """The exits that were not given up, oldest first."""
    found: dict[str, list[Exit]] = defaultdict(list)
    for each in sorted(record.signals, key=lambda each: each.created_at):
        if each.kind == "exit" and each.state != "expired":
            body = msgspec.json.decode(each.payload, type=_Body)
            exact = each.amount_quote / body.market_data_snapshot.price
            found[body.metadata.lifecycle_id].append(
                Exit(
                    signal=each,
                    lifecycle_id=body.metadata.lifecycle_id,
                    quantity=_floored(exact, _lot(record, each.symbol)),
                    peak_price=body.metadata.peak_price,
                )
            )
    return found


def told_sizes(record: Record) -> Told:
    """Signed sizes in base units by symbol, as the Position Manager sent them."""
    found: dict[str, list[tuple[datetime, Decimal]]] = defaultdict(list)
    for each in record.wire:
        if not (each.is_sent and each.queue == POSITION_UPDATED):
            continue
        try:
            update = msgspec.json.decode(each.body, type=_Update)
        except msgspec.DecodeError:  # a poison tells nothing
            continue
        found[update.asset].append((update.timestamp, update.size))
    return {symbol: sorted(sizes) for symbol, sizes in found.items()}


def left_open(
    lifecycle: Lifecycle, exits: Sequence[Exit], told: Told, record: Record, *, since: datetime, at: datetime
) -> Decimal:
    """What would stay open at `at` of the size that was live after `since`; 0 for less than a lot.

    What `exits` filled is gone from what was told. Of those without a fill only the newest counts: each takes
    the place of the one before it.
    """
    known = _known(lifecycle, told, since, at)
    under_way = [each.quantity for each in exits[-1:] if not (known and each.signal.filled)]
    left = min(known, default=lifecycle.size) - sum(under_way)
    return left if left > 0 and left >= _lot(record, lifecycle.symbol) else Decimal(0)


def excesses(
    record: Record, promises: Promises, exits: Mapping[str, Sequence[Exit]], told: Told
) -> Iterator[str]:
    """One sentence per exit that is for more than was live, by more than a lot."""
    lifecycles = {str(each.lifecycle_id): each for each in record.lifecycles}
    for each in (exit_ for found in exits.values() for exit_ in found):
        lifecycle = lifecycles.get(each.lifecycle_id)
        if lifecycle is None:
            continue
        at = each.signal.created_at
        since, until = _heard_since(record, promises, at), _told_until(record, promises, at)
        known = [size for size in _known(lifecycle, told, since, until) if size] or [lifecycle.size]
        is_deaf = overlaps(record.gaps, lifecycle.opened_at, until)
        if each.quantity > max(known) + _lot(record, each.signal.symbol) and not is_deaf:
            yield (
                f"exit {each.signal.signal_id} of {at} is for {each.quantity} of {each.signal.symbol}, and "
                f"no more than {max(known)} of {each.lifecycle_id} was live since {since}"
            )


# A fault may keep a worker from hearing of a change until it is over, and another one after it.
def _heard_since(record: Record, promises: Promises, at: datetime) -> datetime:
    since = at - promises.state_known
    for each in sorted(disturbances(record, promises.recovery), key=lambda each: each.ended_at, reverse=True):
        if each.began_at <= at and each.ended_at >= since:
            since = min(since, each.began_at)
    return since


# A worker may have asked for a size that the Position Manager could tell only once the broker was back.
def _told_until(record: Record, promises: Promises, at: datetime) -> datetime:
    struck = disturbances(record, promises.recovery)
    late = [each.ended_at for each in struck if each.began_at <= at <= each.ended_at]
    return max([at + promises.clock_tolerance, *late])


# Sizes on the position's side: the one that held at `since`, and those told until `until`.
def _known(lifecycle: Lifecycle, told: Told, since: datetime, until: datetime) -> Sequence[Decimal]:
    sign = 1 if lifecycle.side == "long" else -1
    opened_at = lifecycle.opened_at - timedelta(seconds=1)
    seen = [
        (at, max(size * sign, Decimal(0)))
        for at, size in told.get(lifecycle.symbol, ())
        if opened_at <= at <= until
    ]
    before = [size for at, size in seen if at <= since]
    return [*before[-1:], *(size for at, size in seen if at > since)]


def _lot(record: Record, symbol: str) -> Decimal:
    return record.lots.get(symbol, Decimal(0))


def _floored(quantity: Decimal, lot: Decimal) -> Decimal:
    return quantity // lot * lot if lot else quantity
