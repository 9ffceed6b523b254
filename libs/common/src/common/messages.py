"""Every message on the bus, as frozen structs.

Strict in what we send: a signal is checked against the receiver's rules before it is published.
Tolerant in what we read: unknown keys are ignored, timestamps without an offset are UTC.
`symbol` is `asset` on the wire of the order side.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from common.errors import Unusable

Side = Literal["buy", "sell"]
Symbol = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9]{4,20}$")]
_NonNegative = Annotated[float, msgspec.Meta(ge=0)]
_UNBOOKABLE = Decimal(10) ** 12


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A fact or a request on the bus; a changed message is a new one."""


class FeatureVector(Message, frozen=True, kw_only=True):
    """What the Feature Service computed for a symbol at an instant (`features.live`).

    `timestamp` is the moment of computing, so it exposes a backlog, not a dead market feed. A feature that
    could not be computed is absent.
    """

    timestamp: datetime
    symbol: Symbol
    features: dict[str, float]
    feature_registry_version: str
    trace_id: str | None = None

    def __post_init__(self) -> None:
        _make_aware(self)


class DatasetReady(Message, frozen=True, kw_only=True):
    """A dataset can be downloaded (`features.dataset.ready`); a failed build is never announced."""

    dataset_id: UUID
    symbol: Symbol
    status: str
    train_records: int = 0
    validation_records: int = 0
    test_records: int = 0
    strategy_id: str | None = None
    trace_id: str | None = None


class PositionUpdated(Message, frozen=True, kw_only=True):
    """The size of a position may have changed (`position-manager.position_updated`).

    TRAP: it comes after fills only and carries no prices; its pnl is stale. Order events by `timestamp`.
    """

    symbol: Symbol = msgspec.field(name="asset")
    size: Decimal
    """Base currency, + long, - short, 0 closed."""
    timestamp: datetime
    position_id: str | None = None
    unrealized_pnl: Decimal | None = None
    realized_pnl: Decimal | None = None
    unrealized_pnl_pct: Decimal | None = None
    update_source: str | None = None
    trace_id: str | None = None

    def __post_init__(self) -> None:
        _make_aware(self)
        if not is_bookable(self.size):
            raise ValueError(f"the size of {self.symbol} is not finite, or has no room in any column")


class OrderEvent(Message, frozen=True, kw_only=True):
    """What became of an order (`order-manager.order_events`), as it was told: nothing in it is checked yet.

    TRAP: only changes of status are sent, so later partial fills are silent: figures are cumulative. A fill
    names no strategy and has a trace id of its own; `average_price` may be null.
    """

    event_type: str
    order: dict[str, Any]
    timestamp: str | None = None
    """Naive UTC."""
    market_conditions: dict[str, Any] | None = None
    """`price` is that of the fill."""
    rejection_reason: str | None = None
    trace_id: str | None = None


class VersionActivated(Message, frozen=True, kw_only=True):
    """A model version became the one to trade with (our fan-out): a hint, the registry is the truth."""

    strategy_id: str
    version: str | None
    """None: no version is active any more, the strategy warms up."""
    epoch: int
    sha256: str | None
    activated_at: datetime
    trace_id: str | None = None


class PriceSeen(Message, frozen=True, kw_only=True):
    """The market's price of a symbol as inference saw it (our fan-out)."""

    symbol: Symbol
    price: Decimal
    """Quote currency."""
    timestamp: datetime
    """Of the vector that showed it."""


class FeaturesHeard(Message, frozen=True, kw_only=True):
    """The queue features.live brought somebody fresh vectors (our fan-out): those streams are alive."""

    symbols: tuple[str, ...]


class PositionChanged(Message, frozen=True, kw_only=True):
    """A position update was taken in (our fan-out): caches of the symbol are out of date."""

    symbol: Symbol
    size: Decimal
    timestamp: datetime


class MarketSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The market that a decision saw. None is unknown; nothing here is ever invented."""

    price: Annotated[float, msgspec.Meta(gt=0)]
    """Quote currency."""
    spread: _NonNegative | None = None
    """Percent of mid. TRAP: the Order Manager takes null for 0 and sends a market order at 0.1 or less."""
    volume_24h: _NonNegative | None = None
    volatility: _NonNegative | None = None
    orderbook_depth: Mapping[str, Any] | None = None
    technical_indicators: Mapping[str, Any] | None = None


class TradingSignal(Message, frozen=True, kw_only=True):
    """Buy or sell, for the Order Manager (`model-service.trading_signals`).

    TRAP: `amount` is quote currency for buy and sell alike; a confidence above 0.9 becomes a market order.
    """

    signal_id: UUID
    signal_type: Side
    symbol: Symbol = msgspec.field(name="asset")
    amount: Annotated[float, msgspec.Meta(ge=0.01)]
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)]
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    strategy_id: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    market_data_snapshot: MarketSnapshot
    model_version: Annotated[str, msgspec.Meta(max_length=50)] | None = None
    is_warmup: bool = False
    metadata: dict[str, Any] | None = None
    trace_id: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None


_encoder = msgspec.json.Encoder()
_signal_decoder = msgspec.json.Decoder(TradingSignal)


def encode_signal(signal: TradingSignal) -> bytes:
    """The body to publish, which the Order Manager accepts and reads as `signal`.

    Raises Unusable naming the field, where its rules refuse it or JSON cannot hold it (NaN becomes null,
    and a null spread would silently become a market order).
    """
    body = _encoder.encode(signal)
    try:
        read_back = _signal_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Unusable(f"signal {signal.signal_id} breaks the Order Manager's rules: {error}") from error
    for field in signal.__struct_fields__:
        if getattr(read_back, field) != getattr(signal, field):
            raise Unusable(
                f"signal {signal.signal_id}: {field} does not survive JSON: {getattr(signal, field)!r}"
            )
    return body


def in_utc(told: datetime) -> datetime:
    """The instant in UTC, taken for UTC where it names no zone; ValueError where UTC has no such instant."""
    try:
        return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{told.isoformat()} is no instant in UTC") from None


def is_bookable(figure: Decimal) -> bool:
    """Whether a size or a price is finite, and has room in the platform's NUMERIC(20, 8)."""
    return figure.is_finite() and figure.copy_abs() < _UNBOOKABLE


def _make_aware(message: FeatureVector | PositionUpdated) -> None:
    msgspec.structs.force_setattr(message, "timestamp", in_utc(message.timestamp))
