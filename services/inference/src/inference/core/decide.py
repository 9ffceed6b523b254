"""The decision: one vector and one strategy give one signal, or one reason why not."""

from datetime import datetime

import msgspec

from common.messages import FeatureVector, MarketSnapshot, TradingSignal
from inference.core.case import Case, Screening
from inference.core.gates import ENTRY_GATES, VECTOR_GATES, valid_until
from inference.core.reasons import Facts, Skip

_PERCENT = 100


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A signal to emit: the message, and when it stops being true."""

    message: TradingSignal
    valid_until: datetime


def screen(screening: Screening) -> Skip | MarketSnapshot:
    """The market as the vector shows it, once it passed every gate that needs nothing else."""
    for gate in VECTOR_GATES:
        check = gate(screening)
        if check.denied:
            return Skip(check.denied, check.facts)
    return snapshot_of(screening.vector)


def decide(case: Case) -> Signal | Skip:
    """The first gate that denies gives the reason; a signal carries the figures of all of them."""
    amount = case.proposal.requested_quote
    figures: dict[str, Facts] = {}
    for gate in ENTRY_GATES:
        check = gate(case, amount)
        if check.denied:
            return Skip(check.denied, check.facts)
        figures[gate.__name__] = check.facts
        if check.amount_quote is not None:
            amount = check.amount_quote
    message = TradingSignal(
        signal_id=case.signal_id,
        signal_type=case.proposal.side,
        symbol=case.vector.symbol,
        amount=float(amount),
        confidence=case.proposal.confidence,
        timestamp=case.now,
        strategy_id=case.strategy_id,
        model_version=case.proposal.version,
        is_warmup=case.proposal.version is None,
        market_data_snapshot=case.snapshot,
        metadata={
            "reasoning": case.proposal.reasoning,
            "feature_timestamp": case.vector.timestamp.isoformat(),
            "feature_registry_version": case.vector.feature_registry_version,
            "requested_amount": float(case.proposal.requested_quote),
            "amount": float(amount),
            "proposal": dict(case.proposal.facts),
            "gates": figures,
        },
        trace_id=case.trace_id,
    )
    return Signal(message=message, valid_until=valid_until(case))


def snapshot_of(vector: FeatureVector) -> MarketSnapshot:
    """The signal's market fields from registry names; what a vector lacks is null.

    TRAP: the Order Manager reads `spread` as percent, the registry's spread_rel is a fraction.
    """
    features = vector.features
    spread_rel = features.get("spread_rel")
    return MarketSnapshot(
        price=features["mid_price"],
        spread=None if spread_rel is None or not spread_rel >= 0 else spread_rel * _PERCENT,
        volatility=_first_present(features.get("volatility_5m"), features.get("volatility_1m")),
    )


def _first_present(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
