"""Trading states: what was sent while fleet or strategy were held back, and which exits were not?"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from common.core.trading_state import TradingState
from sandbox.core.audit.closing import exits_by_lifecycle
from sandbox.core.audit.quiet import disturbances, exits_halted, overlaps
from sandbox.core.audit.record import Promises, Record, Signal

BARRED = "trading state"
"""Begins the reason of a signal that the state kept from being published."""
_STRICTNESS = {"ACTIVE": 0, "REDUCING": 1, "HALTED": 2}


def faults(record: Record, promises: Promises) -> Iterator[str]:
    """One sentence per entry that was not allowed, and per exit that had to go on."""
    yield from _entries(record, promises)
    yield from _barred_exits(record)
    yield from _held_exits(record, promises)


def _entries(record: Record, promises: Promises) -> Iterator[str]:
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


def _barred_exits(record: Record) -> Iterator[str]:
    for each in record.signals:
        if each.kind == "exit" and (each.reason or "").startswith(BARRED):
            yield f"exit {each.signal_id} ({each.side}) of {each.created_at} was held back: {each.reason}"


# Only an operator who halts exits by name may keep a latched rule from its exit.
def _held_exits(record: Record, promises: Promises) -> Iterator[str]:
    exits = exits_by_lifecycle(record)
    busy = [*record.gaps, *disturbances(record, promises.recovery), *exits_halted(record)]
    for each in record.lifecycles:
        if each.latched_at is None:
            continue
        due_at = each.latched_at + promises.exit_answer
        state = _surely(record, promises, each.strategy_id, each.latched_at)
        is_over = (each.closed_at or record.ended_at) < due_at
        if state == TradingState.ACTIVE or is_over or overlaps(busy, each.latched_at, due_at):
            continue
        since = each.latched_at - promises.clock_tolerance
        found = exits.get(str(each.lifecycle_id), ())
        if not any(since <= exit_.signal.created_at <= due_at for exit_ in found):
            yield (
                f"the {each.side} {each.lifecycle_id} of {each.symbol} was due by {each.latched_rule} at "
                f"{each.latched_at} while its state was {state}, and no exit was sent until {due_at}"
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
