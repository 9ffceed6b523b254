"""The summary of a chaos run: faults by kind, how long each kind took to get over, and what the fleet did."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime

from sandbox.core.audit.quiet import HARMLESS
from sandbox.core.audit.record import Record, Span
from sandbox.faults import BROKER, DATABASE


def summary(record: Record, seed: int, violations: Sequence[str]) -> dict[str, object]:
    """What is printed, as one line of JSON."""
    signals = Counter(f"{each.kind} {each.state}" for each in record.signals)
    return {
        "seed": seed,
        "seconds": round((record.ended_at - record.began_at).total_seconds()),
        "violations": len(violations),
        "faults": dict(sorted(Counter(each.kind for each in record.faults).items())),
        "recovery_s": recoveries(record),
        "all_ready_s": [_seconds(healed_at, ready_at) for healed_at, ready_at in record.healings],
        "signals": dict(sorted(signals.items())),
        "exits_by_rule": dict(Counter(each.latched_rule for each in record.lifecycles if each.latched_rule)),
        "positions": len(record.lifecycles),
        "trainings": dict(Counter(each.state for each in record.runs)),
        "versions": len(record.versions),
        "activations": _activations(record),
        "dead_letters": len(record.letters),
        "poisons": len(record.poisons),
        "messages_heard": len(record.wire),
        "deaf_s": round(sum((each.ended_at - each.began_at).total_seconds() for each in record.gaps), 1),
        "error_lines": len(record.errors),
    }


def recoveries(record: Record) -> dict[str, dict[str, float]]:
    """Median and longest time from the healing until who was struck was ready, by kind, in seconds.

    That is the process itself, and every service for what all of them need. A fault after which another one
    struck the same, or what all need, before that says nothing of itself and is left out.
    """
    took: dict[str, list[float]] = defaultdict(list)
    struck = [each for each in record.faults if not each.kind.startswith(HARMLESS)]
    for fault in struck:
        ready_at = _ready_since(record, fault)
        if ready_at is not None and not _is_disturbed(fault, ready_at, struck):
            took[fault.kind].append((ready_at - fault.healed_at).total_seconds())
    return {
        kind: {"median": round(statistics.median(times), 1), "max": round(max(times), 1), "of": len(times)}
        for kind, times in sorted(took.items())
    }


def _is_disturbed(fault: Span, ready_at: datetime, struck: Sequence[Span]) -> bool:
    return any(
        each is not fault
        and each.target in (fault.target, BROKER, DATABASE)
        and each.began_at < ready_at
        and each.healed_at > fault.healed_at
        for each in struck
    )


def _ready_since(record: Record, fault: Span) -> datetime | None:
    for sample in record.readiness:
        whose = [sample.ready[fault.target]] if fault.target in sample.ready else sample.ready.values()
        if sample.at >= fault.healed_at and all(whose):
            return sample.at
    return None


def _activations(record: Record) -> int:
    changes = 0
    before: dict[str, list[str]] = {}
    for sample in record.told:
        changes += sum(versions != before.get(name) for name, versions in sample.active.items())
        before = {**before, **sample.active}
    return changes


def _seconds(since: datetime, until: datetime | None) -> float | None:
    return None if until is None else round((until - since).total_seconds(), 1)
