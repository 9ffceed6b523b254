"""The record of a chaos run: everything that its checker reads, as values.

Times are UTC and aware. What was sampled was seen from outside; what stands in tables was read at the end.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from sandbox.core.audit.growth import Usage

TRADING_SIGNALS = "model-service.trading_signals"
"""The queue that the Order Manager reads."""
PRICE_SEEN = "flotilla.price_seen"
"""The exchange that carries prices to the exit workers."""
POSITION_UPDATED = "position-manager.position_updated"
"""The queue by which the Position Manager tells sizes."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the broker took it (`is_sent`) or gave it to a consumer."""

    at: datetime
    """When the tap read it."""
    is_sent: bool
    exchange: str
    queue: str
    """The queue it was given from; of a sent one its routing key."""
    is_redelivered: bool = False
    headers: dict[str, Any] = {}
    body: bytes


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """What was said then may not have been heard."""

    began_at: datetime
    ended_at: datetime


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One fault as it was."""

    kind: str
    target: str
    began_at: datetime
    healed_at: datetime
    problem: str | None = None
    """Why it could not be tried as planned."""


class Poison(msgspec.Struct, frozen=True, kw_only=True):
    """A message that cannot be used, as it was sent and confirmed."""

    queue: str
    body: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Which services took work."""

    at: datetime
    """When they were asked."""
    ready: dict[str, bool]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the tables said at one moment."""

    at: datetime
    active: dict[str, list[str]]
    """Versions that are active, by strategy."""
    states: dict[str, str]
    """Trading state by scope; those that are stored."""
    served: dict[str, dict[str, str | None]]
    """Version that decides, by replica and strategy; replicas that were heard of within seconds."""


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A row of signal_outbox with what became of it."""

    signal_id: UUID
    kind: str
    strategy_id: str
    symbol: str
    side: str
    amount_quote: Decimal
    payload: str
    feature_timestamp: datetime | None
    valid_until: datetime
    state: str
    reason: str | None
    created_at: datetime
    published_at: datetime | None
    is_recorded: bool
    """Whether trading_signals has it."""
    orders: int
    """Orders of it that were not rejected."""
    recorded_at: datetime | None = None
    """When the row of trading_signals was written."""
    filled: Decimal = Decimal(0)
    """Base units that its orders bought or sold."""


class Lifecycle(msgspec.Struct, frozen=True, kw_only=True):
    """A row of position_lifecycles: one position from its opening to its end."""

    lifecycle_id: UUID
    symbol: str
    side: str
    strategy_id: str
    opened_at: datetime
    created_at: datetime
    closed_at: datetime | None
    entry_price: Decimal
    size: Decimal
    stop_price: Decimal | None
    latched_rule: str | None
    latched_at: datetime | None
    peak_price: Decimal | None = None
    """The best price that its rules remember, for its side."""


class StateChange(msgspec.Struct, frozen=True, kw_only=True):
    """A trading state was set."""

    scope: str
    state: str
    actor: str
    changed_at: datetime


class TrainingRun(msgspec.Struct, frozen=True, kw_only=True):
    """A row of training_runs."""

    run_id: UUID
    strategy_id: str
    state: str
    reason: str | None
    version: str | None
    finished_at: datetime | None


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A row of model_versions, and the hash of what lies on disk for it."""

    version: str
    strategy_id: str
    run_id: UUID | None
    is_active: bool
    sha256: str | None
    sha256_on_disk: str | None
    """None: nothing lies there."""
    is_retired: bool = False
    """Its files made room for those of newer versions; nobody serves it."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was put aside: a dead letter, or a position update that could not be used."""

    queue: str
    body: bytes
    reason: str


class Redelivered(msgspec.Struct, frozen=True, kw_only=True):
    """A message that the broker gave out again to one of our consumers, and how often."""

    queue: str
    digest: str
    """Of its body."""
    times: int
    first_at: datetime
    last_at: datetime


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run left."""

    began_at: datetime
    ended_at: datetime
    wire: Sequence[Heard]
    gaps: Sequence[Gap]
    faults: Sequence[Span]
    healings: Sequence[tuple[datetime, datetime | None]]
    """When all was healed, and when every service was ready again; None: never seen."""
    poisons: Sequence[Poison]
    readiness: Sequence[Readiness]
    told: Sequence[Told]
    usage: Sequence[Usage]
    signals: Sequence[Signal]
    lifecycles: Sequence[Lifecycle]
    state_changes: Sequence[StateChange]
    runs: Sequence[TrainingRun]
    versions: Sequence[Version]
    letters: Sequence[Letter]
    letters_left: int
    """Dead letters that still lay in their queue at the end."""
    leaks: Sequence[str]
    """Where a secret was written: process and event, never the text."""
    errors: Sequence[str]
    """Log lines of level error, and tracebacks."""
    redelivered: Sequence[Redelivered] = ()
    lots: Mapping[str, Decimal] = {}
    """Smallest step of a quantity, in base units, by symbol."""


class Promises(msgspec.Struct, frozen=True, kw_only=True):
    """What design and configuration promise."""

    max_age: timedelta
    """Oldest vector that may be acted on, MARKET_DATA_MAX_AGE_SECONDS."""
    recovery: timedelta = timedelta(seconds=30)
    """All services are ready, replicas agree and the database has it all so long after the healing."""
    exit_answer: timedelta = timedelta(seconds=15)
    """A stop that is visible for so long, with nothing broken, has been answered."""
    state_known: timedelta = timedelta(seconds=2)
    """How old a worker's knowledge of a trading state may be."""
    clock_tolerance: timedelta = timedelta(seconds=1)
    """How far the stamps of two processes and the database may be apart."""
    redeliveries: int = 10
    """A message may be given out again so often, and so often more for each fault in that time."""
    rss_limit_bytes: int = 400 * 1024 * 1024
    """Of one process."""
