"""Recovery: all are ready soon after the healing, nothing put aside is lost, no secret is written."""

from collections import Counter
from collections.abc import Iterator

from sandbox.core.audit.quiet import disturbances, overlaps
from sandbox.core.audit.record import Promises, Record


def faults(record: Record, promises: Promises) -> Iterator[str]:
    """One sentence per broken promise about recovering."""
    for healed_at, ready_at in record.healings:
        if ready_at is None:
            yield f"after everything was healed at {healed_at}, the services were never all ready"
        elif ready_at - healed_at > promises.recovery:
            took_s = (ready_at - healed_at).total_seconds()
            yield f"all services were ready only {took_s:.0f} s after everything was healed at {healed_at}"
    for span in record.faults:
        if span.problem is not None:
            yield f"{span.kind} at {span.began_at} could not be tried: {span.problem}"
    yield from _letters(record)
    for leak in sorted(set(record.leaks)):
        yield f"a secret was written: {leak}"
    yield from _requeued(record, promises)
    yield from _memory(record, promises)


def _letters(record: Record) -> Iterator[str]:
    sent = Counter((each.queue, each.body.encode()) for each in record.poisons)
    kept = Counter((each.queue, each.body) for each in record.letters)
    for (queue, body), times in (sent - kept).items():
        yield f"a message of {queue} that cannot be used was put aside {times} times too few: {body!r}"
    for (queue, body), times in (kept - sent).items():
        yield f"a message of {queue} was put aside {times} times and nobody poisoned it so: {body[:200]!r}"
    if record.letters_left:
        yield f"{record.letters_left} dead letters were never collected"


# A lost connection gives back what was not acknowledged, once each time; a loop does not stop.
def _requeued(record: Record, promises: Promises) -> Iterator[str]:
    struck = disturbances(record, promises.recovery)
    for each in record.redelivered:
        faults = sum(overlaps([fault], each.first_at, each.last_at) for fault in struck)
        if each.times > promises.redeliveries * (1 + faults):
            yield (
                f"a message of {each.queue} ({each.digest}) was given out again {each.times} times from "
                f"{each.first_at} to {each.last_at}"
            )


def _memory(record: Record, promises: Promises) -> Iterator[str]:
    most: dict[str, int] = {}
    for each in record.usage:
        most[each.process] = max(most.get(each.process, 0), each.rss_bytes)
    for process, rss_bytes in most.items():
        if rss_bytes > promises.rss_limit_bytes:
            yield f"{process} held {rss_bytes / 2**20:.0f} MiB"
