"""Trading states: what was sent while fleet or strategy were held back, or positions were unknown?"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from sandbox.core.audit.record import Promises, Record, Signal

_STRICTNESS = {"ACTIVE": 0, "REDUCING": 1, "HALTED": 2}


def faults(record: Record, promises: Promises) -> Iterator[str]:
    """One sentence per entry that was not allowed."""
    for signal in record.signals:
        if signal.kind != "entry":
            continue
        gates = _gates(signal)
        live_size = gates.get("position", {}).get("live_size")
        if live_size is None:
            yield f"signal {signal.signal_id} of {signal.created_at} was decided without a known position"
        reduces = bool(gates.get("holdings", {}).get("reduces"))
        state = _surely(record, promises, signal.strategy_id, signal.created_at)
        if state == "HALTED" or (state == "REDUCING" and not reduces):
            yield (
                f"signal {signal.signal_id} of {signal.strategy_id} was decided at {signal.created_at} while "
                f"its state was {state}"
            )


def _gates(signal: Signal) -> dict[str, Any]:
    metadata = msgspec.json.decode(signal.payload).get("metadata") or {}
    gates: dict[str, Any] = metadata.get("gates") or {}
    return gates


# The stricter of the two scopes, each as mild as a worker may still have known it.
def _surely(record: Record, promises: Promises, strategy_id: str, at: datetime) -> str:
    states = [_mildest(record, promises, scope, at) for scope in ("fleet", f"strategy:{strategy_id}")]
    return max(states, key=_STRICTNESS.__getitem__)


def _mildest(record: Record, promises: Promises, scope: str, at: datetime) -> str:
    changes = [each for each in record.state_changes if each.scope == scope]
    since, until = at - promises.state_known, at + promises.clock_tolerance
    before = [each.state for each in changes if each.changed_at <= since]
    within = [each.state for each in changes if since < each.changed_at <= until]
    return min([*(before[-1:] or ["ACTIVE"]), *within], key=_STRICTNESS.__getitem__)
