"""The checker of a chaos run: which promises were broken while the fleet was struck?"""

from sandbox.core.audit import exits, models, recovery, remembered, signals, trading
from sandbox.core.audit.record import Promises, Record


def violations(record: Record, promises: Promises) -> list[str]:
    """One sentence per broken promise; empty: all were kept."""
    return [
        fault
        for subject in (signals, exits, models, trading, remembered, recovery)
        for fault in subject.faults(record, promises)
    ]
