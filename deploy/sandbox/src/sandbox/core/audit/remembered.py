"""What was remembered: a stored trading state stays until it is changed, a best price never gets worse."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from sandbox.core.audit.closing import exits_by_lifecycle
from sandbox.core.audit.quiet import disturbances, overlaps
from sandbox.core.audit.record import Lifecycle, Promises, Record

STATE_WRITERS = frozenset({"api", "inference", "database"})
"""Whose faults may come between a change and its commit."""
PRECISION = Decimal("1e-9")
"""Two writings of one price differ by less."""


def faults(record: Record, promises: Promises) -> Iterator[str]:
    """One sentence per thing that was begun anew."""
    yield from _states(record, promises)
    yield from _peaks(record)


# A sample was read after the one before it: any state of that time may be in it. A change is stamped when its
# transaction begins, and read when that ends: later where its writer was frozen in between.
def _states(record: Record, promises: Promises) -> Iterator[str]:
    writing = disturbances(record, promises.clock_tolerance, STATE_WRITERS)
    before = record.began_at
    for sample in record.told:
        scopes = {each.scope for each in record.state_changes if each.changed_at <= before}
        for scope in sorted(scopes | sample.states.keys()):
            late = [each.began_at for each in writing if overlaps([each], before, sample.at)]
            since = min([before, *late]) - promises.clock_tolerance
            allowed = _allowed(record, scope, since, sample.at)
            found = sample.states.get(scope)
            if found not in allowed:
                yield (
                    f"the state of {scope} was {found} at {sample.at}, and its changes say "
                    f"{' or '.join(sorted(map(str, allowed)))}"
                )
        before = sample.at


def _allowed(record: Record, scope: str, since: datetime, until: datetime) -> set[str | None]:
    changes = [each for each in record.state_changes if each.scope == scope and each.changed_at <= until]
    before: list[str | None] = [each.state for each in changes if each.changed_at <= since]
    return {*(before[-1:] or [None]), *(each.state for each in changes if each.changed_at > since)}


# Every exit tells the best price as it was then, and the row as it was last.
def _peaks(record: Record) -> Iterator[str]:
    exits = exits_by_lifecycle(record)
    for lifecycle in record.lifecycles:
        best: tuple[Decimal, str] | None = None
        told = [
            (each.peak_price, f"exit {each.signal.signal_id} of {each.signal.created_at}")
            for each in exits.get(str(lifecycle.lifecycle_id), ())
        ]
        for peak, where in [*told, (lifecycle.peak_price, "its row at the end")]:
            if peak is None:
                continue
            if best is not None and _is_worse(lifecycle, peak, best[0]):
                yield (
                    f"the best price of {lifecycle.symbol} in {lifecycle.lifecycle_id} was {best[0]} in "
                    f"{best[1]} and {peak} in {where}"
                )
            best = (peak, where)


def _is_worse(lifecycle: Lifecycle, peak: Decimal, best: Decimal) -> bool:
    return peak < best - PRECISION if lifecycle.side == "long" else peak > best + PRECISION
