"""Everything that is known when a decision is made: the arguments of the gates.

Amounts and prices are quote currency, sizes base currency (signed: + long, - short), all Decimal.
"""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from common.core.rate_limit import Bucket, Rate
from common.core.trading_state import TradingState
from common.messages import FeatureVector, MarketSnapshot, Side
from inference.core.snapshot import KnownPrice, SnapshotFeatures
from inference.core.stream import Stream
from inference.core.warmup import Proposal


class OpenOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that may still fill."""

    order_id: str
    side: Side
    status: str


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """The newest known free balance: of the quote currency, or of the margin account."""

    available_quote: Decimal
    received_at: datetime


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's minimums for a symbol."""

    min_order_value: Decimal
    min_order_qty: Decimal
    lot_size: Decimal


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What the neighbours know about a symbol."""

    state: TradingState
    open_orders: tuple[OpenOrder, ...]
    live_size: Decimal | None
    """None: the Position Manager did not say; `position_problem` says why."""
    position_problem: str | None
    booked_at: datetime | None
    """When the Position Manager last changed its row; None: it has no row."""
    newest_fill_at: datetime | None
    """When the symbol's newest filled order was filled; None: no recent one."""
    other_exposure_quote: Decimal | None
    """Of all positions but the symbol's, at the newest known prices; None: unknown, or not asked for."""
    balance: Balance | None
    margin: Balance | None
    """What short entries spend; None: unknown, or not asked for."""
    instrument: Instrument | None


class LastSignal(msgspec.Struct, frozen=True, kw_only=True):
    """The newest signal of a symbol, by any strategy, and what became of it."""

    signal_id: UUID
    created_at: datetime
    order_status: str | None
    """None: the Order Manager has not shown an order for it."""


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet has emitted: read under its lock it stays true until the emission commits."""

    claimed: bool
    """A signal for this very vector exists."""
    newest_emitted: datetime | None
    """Timestamp of the newest vector that this strategy and symbol emitted a signal for."""
    last_signal: LastSignal | None
    exit_latched: bool
    """A position of the symbol is being closed."""
    reserved_quote: Decimal
    """Spent of the quote currency by buys that the newest balance does not show yet."""
    reserved_margin_quote: Decimal
    """Spent by signals of either side that the newest margin balance does not show yet."""
    hourly_notional: Decimal
    """Sum of entry amounts of the last hour, over the fleet."""
    bucket: Bucket
    warmup_slot_taken: bool


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's limits; None is no limit."""

    market_data_max_age_s: float
    future_tolerance_s: float
    balance_max_age_s: float
    validity_s: float
    in_flight_timeout_s: float
    skip_if_open_order: bool
    opposite_orders_only: bool
    short_entries: bool
    fee_rate: Decimal
    slippage_rate: Decimal
    balance_margin: Decimal
    """Fraction of the free balance that may be used."""
    max_position_ratio: Decimal
    """Largest share of the exposure that one symbol may have, 0 to 1."""
    max_exposure_quote: Decimal | None
    """What that share is taken of; None: of all positions together."""
    max_order_notional: Decimal
    max_notional_per_hour: Decimal | None
    min_order_notional: Decimal
    """Floor where the instrument is unknown."""
    rate: Rate


class Screening(msgspec.Struct, frozen=True, kw_only=True):
    """A vector in its stream: what the gates need that cost nothing."""

    vector: FeatureVector
    stream: Stream
    """Up to and including every vector seen so far."""
    now: datetime
    limits: Limits
    snapshot_features: SnapshotFeatures = msgspec.field(default_factory=SnapshotFeatures)
    known_price: KnownPrice | None = None
    """Of the symbol, where the vector's registry has no price."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of one strategy, with all that it may look at."""

    strategy_id: str
    signal_id: UUID
    vector: FeatureVector
    snapshot: MarketSnapshot
    proposal: Proposal
    situation: Situation
    ledger: Ledger
    limits: Limits
    now: datetime
    trace_id: str

    @property
    def price(self) -> Decimal:
        """The vector's mid price."""
        return Decimal(repr(self.snapshot.price))

    @property
    def held_quote(self) -> Decimal:
        """Value of the position at the vector's price, whatever its side; 0 where it is unknown."""
        return abs(self.situation.live_size or Decimal(0)) * self.price

    @property
    def adds_exposure(self) -> bool:
        """Whether the signal opens or increases a position rather than reducing one; unknown: it may."""
        size = self.situation.live_size
        if size is None:
            return True
        return not (size > 0 if self.proposal.side == "sell" else size < 0)
