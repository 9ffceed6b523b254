"""Automatic trips: what the fleet may not do without somebody looking at it first.

A judgement takes only evidence that is newer than the last change of the scope's trading state, so an
operator who released a trip is not overruled by what tripped it.
"""

import math
from array import array
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from common.core.trading_state import FLEET, TradingState, scope_of

TOO_MANY_SIGNALS = "too_many_signals"
DUPLICATE_SIGNAL = "duplicate_signal"
DUPLICATE_ORDER = "duplicate_order"
OUTPUT_FROZEN = "model_output_frozen"
KINDS = (TOO_MANY_SIGNALS, DUPLICATE_SIGNAL, DUPLICATE_ORDER, OUTPUT_FROZEN)
"""Every cause of a trip, and the kind of its alert."""


class Trip(msgspec.Struct, frozen=True, kw_only=True):
    """A scope's trading state has to become at least as strict as `state`."""

    kind: str
    scope: str
    state: TradingState
    sentence: str
    figures: dict[str, Any]
    evidence_at: datetime
    """A change of the scope's state at this moment or later has answered it already."""


class Emitted(msgspec.Struct, frozen=True, kw_only=True):
    """How many entries the fleet emitted in the last minute, since the fleet's state last changed."""

    entries: int
    newest_at: datetime | None


class Repeated(msgspec.Struct, frozen=True, kw_only=True):
    """Something that may exist once and exists more often."""

    what: dict[str, str]
    """What it is, by the names of its columns."""
    ids: tuple[str, ...]
    newest_at: datetime


class OutputRun(msgspec.Struct, frozen=True, kw_only=True):
    """Predictions of one strategy in a row with the same output, bit by bit, each for another row."""

    row: bytes
    output: bytes
    predictions: int
    began_at: datetime


def too_many_signals(emitted: Emitted, per_minute: int) -> Trip | None:
    """The fleet halts where more than `per_minute` entries were emitted in a minute."""
    if emitted.newest_at is None or emitted.entries <= per_minute:
        return None
    return Trip(
        kind=TOO_MANY_SIGNALS,
        scope=FLEET,
        state=TradingState.HALTED,
        sentence=f"{emitted.entries} entries in a minute, more than the {per_minute} that trip",
        figures={"entries": emitted.entries, "limit_per_minute": per_minute},
        evidence_at=emitted.newest_at,
    )


def duplicate_signal(found: Sequence[Repeated]) -> Trip | None:
    """The fleet halts where one vector gave a strategy two entries."""
    return _duplicate(DUPLICATE_SIGNAL, "entries of one strategy for one vector", found)


def duplicate_order(found: Sequence[Repeated]) -> Trip | None:
    """The fleet halts where one signal has two orders that were not rejected."""
    return _duplicate(DUPLICATE_ORDER, "orders for one signal", found)


def frozen_output(strategy_id: str, run: OutputRun, limit: int) -> Trip | None:
    """The strategy is reduced where its model gave `limit` different rows the same answer; 0: never."""
    if limit <= 0 or run.predictions < limit:
        return None
    return Trip(
        kind=OUTPUT_FROZEN,
        scope=scope_of(strategy_id),
        state=TradingState.REDUCING,
        sentence=f"the model of {strategy_id} gave {run.predictions} different rows the same answer",
        figures={
            "predictions": run.predictions,
            "limit": limit,
            "output": [round(value, 9) for value in array("d", run.output) if math.isfinite(value)],
            "since": run.began_at.isoformat(),
        },
        evidence_at=run.began_at,
    )


def continued(
    run: OutputRun | None, row: Sequence[float], output: Sequence[float], now: datetime
) -> OutputRun:
    """`run` with one more prediction; a new one where the output differs from the last.

    The same row again tells nothing: its output has to be the same.
    """
    row_bits, output_bits = array("d", row).tobytes(), array("d", output).tobytes()
    if run is None or run.output != output_bits:
        return OutputRun(row=row_bits, output=output_bits, predictions=1, began_at=now)
    if run.row == row_bits:
        return run
    return msgspec.structs.replace(run, row=row_bits, predictions=run.predictions + 1)


def ids_of(values: Sequence[UUID | str]) -> tuple[str, ...]:
    """Ids as figures show them, in one order."""
    return tuple(sorted(map(str, values)))


def _duplicate(kind: str, what: str, found: Sequence[Repeated]) -> Trip | None:
    if not found:
        return None
    first = min(found, key=lambda each: each.newest_at)
    named = ", ".join(f"{name} {value}" for name, value in first.what.items())
    return Trip(
        kind=kind,
        scope=FLEET,
        state=TradingState.HALTED,
        sentence=f"{len(first.ids)} {what}: {named}",
        figures={**first.what, "ids": list(first.ids), "cases": len(found)},
        evidence_at=max(each.newest_at for each in found),
    )
