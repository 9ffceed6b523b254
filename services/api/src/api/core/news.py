"""What the event stream tells: happenings of the fleet, each once, as a client reads them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec


class SignalTold(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that was published: `signal`, or `exit` where an exit rule gave it."""

    signal_id: UUID
    strategy_id: str
    symbol: str
    side: Literal["buy", "sell"]
    price: Decimal
    """Quote currency."""
    timestamp: datetime
    """When it was decided."""
    model_version: str | None
    is_warmup: bool
    rule: str | None
    """The exit rule; null: an entry."""


class SkipTold(msgspec.Struct, frozen=True, kw_only=True):
    """`skip`: the newest vector of a strategy and symbol came to something else than the one before."""

    strategy_id: str
    symbol: str
    outcome: Literal["signal", "skip"]
    reason: str | None
    """Null: there was a signal."""
    decided_at: datetime


class ActivationTold(msgspec.Struct, frozen=True, kw_only=True):
    """`activation`: a strategy trades with another version from now on."""

    strategy_id: str
    version: str | None
    """Null: it warms up."""
    epoch: int
    actor: str
    reason: str


class TrainingTold(msgspec.Struct, frozen=True, kw_only=True):
    """`training`: a run was requested, went on or ended."""

    run_id: UUID
    strategy_id: str
    symbol: str
    state: str
    progress: dict[str, Any] | None
    version: str | None
    """What came of it; null: nothing yet."""


class StateTold(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: somebody, or an automatic trip, halted, reduced or released a scope."""

    scope: str
    state: str
    actor: str
    reason: str
    changed_at: datetime


class AlertTold(msgspec.Struct, frozen=True, kw_only=True):
    """`alert`: it was raised, became more or less severe, or is over."""

    alert_id: UUID
    kind: str
    scope: str
    severity: Literal["warning", "critical"]
    sentence: str
    resolved_at: datetime | None
    """Null: it is open."""


Told = SignalTold | SkipTold | ActivationTold | TrainingTold | StateTold | AlertTold


class News(msgspec.Struct, frozen=True, kw_only=True):
    """One happening."""

    name: str
    """Of the event on the stream."""
    key: str
    """The same for the same happening, and for no other."""
    at: datetime
    """Where it stands among the others."""
    told: Told


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at the database found."""

    now: datetime
    """The database's clock at the look."""
    news: Sequence[News]
    """What happened in the time that was looked at, told before or not."""
    is_whole: bool
    """False: there was more than is ever told at once."""


def unheard(sight: Sight, heard: Collection[str]) -> list[News]:
    """What the look found and the one before, whose keys are `heard`, did not; the oldest first."""
    return sorted((each for each in sight.news if each.key not in heard), key=lambda each: each.at)


def frame(event: str, body: object, *, event_id: str | None = None) -> bytes:
    """`body` as JSON in one server-sent event."""
    named = f"event: {event}\n" if event_id is None else f"event: {event}\nid: {event_id}\n"
    return named.encode() + b"data: " + msgspec.json.encode(body) + b"\n\n"
