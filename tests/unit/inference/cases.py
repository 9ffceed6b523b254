"""A case in which every gate passes, and ways to change one thing about it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from common.core.ids import entry_signal_id
from common.core.rate_limit import Bucket, Rate
from common.core.trading_state import TradingState
from common.messages import FeatureVector
from inference.core.case import Balance, Case, Instrument, Ledger, Limits, Screening, Situation
from inference.core.snapshot import snapshot_of
from inference.core.stream import Stream
from inference.core.warmup import Proposal

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
FEATURES = {"mid_price": 100.0, "spread_rel": 0.0004, "returns_1m": 0.001, "depth_bid_top5": 6.0}

LIMITS = Limits(
    market_data_max_age_s=60,
    future_tolerance_s=2,
    balance_max_age_s=60,
    validity_s=5,
    in_flight_timeout_s=10,
    skip_if_open_order=True,
    opposite_orders_only=False,
    short_entries=False,
    fee_rate=Decimal("0.001"),
    slippage_rate=Decimal("0.0005"),
    balance_margin=Decimal("0.95"),
    max_position_ratio=Decimal("0.8"),
    max_exposure_quote=None,
    max_order_notional=Decimal(950),
    max_notional_per_hour=None,
    min_order_notional=Decimal(10),
    rate=Rate(per_minute=60, burst=10),
)


def vector(*, age_s: float = 1, **features: float) -> FeatureVector:
    return FeatureVector(
        timestamp=NOW - timedelta(seconds=age_s),
        symbol="BTCUSDT",
        features={**FEATURES, **features},
        feature_registry_version="1.0.0",
    )


def screening(of: FeatureVector, **stream: Any) -> Screening:
    seen = Stream(newest=of.timestamp, fingerprint=of.features, changed_at=of.timestamp)
    return Screening(vector=of, stream=msgspec.structs.replace(seen, **stream), now=NOW, limits=LIMITS)


def proposal(side: Any = "buy", requested: str = "200") -> Proposal:
    return Proposal(
        side=side,
        requested_quote=Decimal(requested),
        confidence=0.5,
        facts={"score": 0.2},
        reasoning="because",
    )


def situation(**changes: Any) -> Situation:
    return msgspec.structs.replace(
        Situation(
            state=TradingState.ACTIVE,
            open_orders=(),
            live_size=Decimal(0),
            position_problem=None,
            booked_at=None,
            newest_fill_at=None,
            other_exposure_quote=Decimal(0),
            margin=None,
            balance=Balance(available_quote=Decimal(10_000), received_at=NOW - timedelta(seconds=2)),
            instrument=Instrument(
                min_order_value=Decimal(5), min_order_qty=Decimal("0.001"), lot_size=Decimal("0.001")
            ),
        ),
        **changes,
    )


def ledger(**changes: Any) -> Ledger:
    return msgspec.structs.replace(
        Ledger(
            claimed=False,
            newest_emitted=None,
            last_signal=None,
            exit_latched=False,
            reserved_quote=Decimal(0),
            reserved_margin_quote=Decimal(0),
            hourly_notional=Decimal(0),
            bucket=Bucket(tokens=10, refilled_at=NOW),
            warmup_slot_taken=False,
        ),
        **changes,
    )


def case(**changes: Any) -> Case:
    of = changes.pop("vector", vector())
    return msgspec.structs.replace(
        Case(
            strategy_id="momentum",
            signal_id=entry_signal_id("momentum", of.symbol, of.timestamp),
            vector=of,
            snapshot=snapshot_of(of),
            proposal=proposal(),
            situation=situation(),
            ledger=ledger(),
            limits=LIMITS,
            now=NOW,
            trace_id="trace-1",
        ),
        **changes,
    )


def limits(**changes: Any) -> Limits:
    return msgspec.structs.replace(LIMITS, **changes)
