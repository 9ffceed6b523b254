"""Exits: a stop that was breached while all was well was answered in time and whole, and no other fired."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from sandbox.core.audit.closing import Exit, Told, excesses, exits_by_lifecycle, left_open, told_sizes
from sandbox.core.audit.quiet import disturbances, exits_halted, overlaps
from sandbox.core.audit.record import PRICE_SEEN, Gap, Lifecycle, Promises, Record

STOP = "stop_loss"
LATCHING = timedelta(seconds=3)
"""A price and the rule that it set off may be stamped so far apart."""

Prices = Mapping[str, Sequence[tuple[datetime, Decimal]]]


class _Price(msgspec.Struct, frozen=True):
    symbol: str
    price: Decimal
    timestamp: datetime


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    prices: Prices
    exits: Mapping[str, Sequence[Exit]]
    told: Told
    busy: Sequence[Gap]
    """Answers may be late then."""


def faults(record: Record, promises: Promises) -> Iterator[str]:
    """One sentence per broken promise about exits."""
    seen = _Seen(
        prices=_prices(record),
        exits=exits_by_lifecycle(record),
        told=told_sizes(record),
        busy=[*record.gaps, *disturbances(record, promises.recovery), *exits_halted(record)],
    )
    unheard = [*record.gaps, *disturbances(record, timedelta(0))]
    for each in record.lifecycles:
        if each.stop_price is None:
            continue
        if each.latched_rule == STOP:
            yield from _breached(each, seen.prices, unheard)
        yield from _answered(each, record, promises, seen)
    yield from excesses(record, promises, seen.exits, seen.told)
    yield from _known(record, promises)


def _prices(record: Record) -> Prices:
    found: dict[str, list[tuple[datetime, Decimal]]] = defaultdict(list)
    for each in record.wire:
        if each.is_sent and each.exchange == PRICE_SEEN:
            price = msgspec.json.decode(each.body, type=_Price)
            found[price.symbol].append((price.timestamp, price.price))
    return {symbol: sorted(prices) for symbol, prices in found.items()}


def _is_breach(lifecycle: Lifecycle, price: Decimal) -> bool:
    assert lifecycle.stop_price is not None
    return price <= lifecycle.stop_price if lifecycle.side == "long" else price >= lifecycle.stop_price


def _breached(lifecycle: Lifecycle, prices: Prices, unheard: Sequence[Gap]) -> Iterator[str]:
    latched_at = lifecycle.latched_at
    if latched_at is None or overlaps(unheard, lifecycle.opened_at, latched_at + LATCHING):
        return
    seen = _between(prices, lifecycle.symbol, lifecycle.opened_at - LATCHING, latched_at + LATCHING)
    if not any(_is_breach(lifecycle, price) for _, price in seen):
        yield (
            f"{lifecycle.symbol}: the stop of {lifecycle.lifecycle_id} at {lifecycle.stop_price} fired at "
            f"{latched_at}, and no price had reached it"
        )


# A breach counts while it lasts: every price seen since is one, for as long as an answer may take.
def _long_breaches(
    lifecycle: Lifecycle, record: Record, promises: Promises, prices: Prices, busy: Sequence[Gap]
) -> Iterator[tuple[datetime, datetime]]:
    since: datetime | None = None
    until = lifecycle.closed_at or record.ended_at
    for at, price in _between(prices, lifecycle.symbol, lifecycle.created_at, until):
        if not _is_breach(lifecycle, price):
            since = None
            continue
        since = since or at
        if at - since >= promises.exit_answer and not overlaps(busy, since, at):
            yield since, at


def _answered(lifecycle: Lifecycle, record: Record, promises: Promises, seen: _Seen) -> Iterator[str]:
    for since, at in _long_breaches(lifecycle, record, promises, seen.prices, seen.busy):
        answers = [
            each
            for each in seen.exits.get(str(lifecycle.lifecycle_id), ())
            if since - promises.exit_answer <= each.signal.created_at <= at
        ]
        left = left_open(lifecycle, answers, seen.told, record, since=since, at=at)
        if answers and not left:
            continue
        answer = f"its exits leave {left} of it open" if answers else "no exit was sent"
        yield (
            f"{lifecycle.symbol}: the stop of {lifecycle.lifecycle_id} at {lifecycle.stop_price} was "
            f"breached from {since} to {at}, and {answer}"
        )
        return


# At the end nothing is broken: what was latched long ago is closed by then.
def _known(record: Record, promises: Promises) -> Iterator[str]:
    for each in record.lifecycles:
        if each.latched_at is None or each.closed_at is not None or each.latched_rule is None:
            continue
        waited = record.ended_at - each.latched_at
        if waited > promises.recovery + promises.exit_answer and each.latched_rule == STOP:
            yield (
                f"{each.symbol}: {each.lifecycle_id} was to be closed by {each.latched_rule} at "
                f"{each.latched_at} and is still open {waited.total_seconds():.0f} s later"
            )


def _between(
    prices: Prices, symbol: str, since: datetime, until: datetime
) -> Sequence[tuple[datetime, Decimal]]:
    seen = prices.get(symbol, ())
    first = bisect_left(seen, since, key=lambda each: each[0])
    last = bisect_left(seen, until, key=lambda each: each[0])
    return seen[first:last]
