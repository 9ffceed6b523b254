"""Models: one active version per strategy, replicas that agree, trainings that end, files as they were."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from sandbox.core.audit.quiet import disturbances, overlaps
from sandbox.core.audit.record import Promises, Record

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


def faults(record: Record, promises: Promises) -> Iterator[str]:
    """One sentence per broken promise about versions and trainings."""
    yield from _one_active(record)
    yield from _agreement(record, promises)
    yield from _ended(record)
    yield from _files(record)


def _one_active(record: Record) -> Iterator[str]:
    known: set[str] = set()
    for sample in record.told:
        for strategy_id, versions in sample.active.items():
            known.add(strategy_id)
            if len(versions) > 1:
                yield f"{strategy_id} had {len(versions)} active versions at {sample.at}: {versions}"
        for strategy_id in known - sample.active.keys():
            yield f"{strategy_id} had no active version at {sample.at}, though it had one before"


# A disagreement is measured from the last moment at which all agreed with the table.
def _agreement(record: Record, promises: Promises) -> Iterator[str]:
    busy = [*disturbances(record, promises.recovery)]
    since: dict[tuple[str, str], datetime] = {}
    told: set[tuple[str, str]] = set()
    active: dict[str, list[str]] = {}
    for sample in record.told:
        changed = {name for name, versions in sample.active.items() if active.get(name) != versions}
        active = sample.active
        for replica, served in sample.served.items():
            for strategy_id, version in served.items():
                key = (replica, strategy_id)
                if strategy_id in changed or version in sample.active.get(strategy_id, [None]):
                    since[key] = sample.at
                    told.discard(key)
                    continue
                began = since.setdefault(key, sample.at)
                is_late = sample.at - began > promises.recovery and not overlaps(busy, began, sample.at)
                if is_late and key not in told:
                    told.add(key)
                    yield (
                        f"{replica} decides {strategy_id} with {version} since {began}, and "
                        f"{sample.active.get(strategy_id)} is active at {sample.at}"
                    )


def _ended(record: Record) -> Iterator[str]:
    for run in record.runs:
        if run.state not in TERMINAL:
            yield f"training {run.run_id} of {run.strategy_id} never ended, it is {run.state}: {run.reason}"
    made = Counter(version.run_id for version in record.versions if version.run_id is not None)
    for run in record.runs:
        wanted = int(run.state == "succeeded" and run.version is not None)
        if made[run.run_id] != wanted:
            yield f"training {run.run_id}, {run.state}, left {made[run.run_id]} versions instead of {wanted}"


def _files(record: Record) -> Iterator[str]:
    for version in record.versions:
        gone = version.is_retired and not version.is_active and version.sha256_on_disk is None
        if version.sha256 != version.sha256_on_disk and not gone:
            yield (
                f"{version.version} of {version.strategy_id} has the hash {version.sha256_on_disk} on disk, "
                f"the database has {version.sha256}"
            )
