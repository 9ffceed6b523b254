"""Why a signal: what its metadata says, read as far as it can be, whoever wrote it."""

from collections.abc import Mapping
from typing import Any

import msgspec

Metadata = Mapping[str, Any]


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """From what was asked to what was sent, quote currency."""

    requested: float | None
    """What the model or the warm-up asked for."""
    sent: float | None
    """What the Order Manager was told."""
    cut_by: list[str]
    """Gates that took something."""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What one gate saw when it let the signal through."""

    gate: str
    """Its name."""
    facts: dict[str, Any]
    """Its figures."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a decision."""

    reasoning: str | None
    """In one sentence."""
    proposal: dict[str, Any]
    """The answer of the model, or of the warm-up, that became an entry."""
    amounts: Amounts | None
    """Null: an exit, or a signal of the platform's older service."""
    gates: list[Gate]
    """In their order while the outbox keeps the signal; empty for an exit."""
    rules: list[dict[str, Any]]
    """What every exit rule said of the price that led to the exit; empty for an entry."""
    contributions: dict[str, Any] | None
    """How much each feature moved the model's answer; null: a warm-up, an exit, or not computed yet."""


def explanation(recorded: Metadata | None, decided: Metadata | None) -> Explanation:
    """The explanation that the metadata holds: as `recorded`, and as it was `decided` where that is kept.

    jsonb forgets the order of keys, so the gates come from what was decided; the contributions are recorded
    later.
    """
    known = recorded or {}
    return Explanation(
        reasoning=_text(known.get("reasoning")),
        proposal=_object(known.get("proposal")),
        amounts=_amounts(known),
        gates=[
            Gate(gate=name, facts=_object(facts))
            for name, facts in _object((decided or known).get("gates")).items()
        ],
        rules=[each for each in _list(known.get("rules")) if isinstance(each, dict)],
        contributions=_object(known.get("contributions")) or None,
    )


def _amounts(known: Metadata) -> Amounts | None:
    if "requested_amount" not in known:
        return None
    return Amounts(
        requested=_number(known["requested_amount"]),
        sent=_number(known.get("amount")),
        cut_by=[each for each in _list(known.get("amount_cut_by")) if isinstance(each, str)],
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
