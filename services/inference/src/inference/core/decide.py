"""The decision: one vector and one strategy give one signal, or one reason why not."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from common.messages import TradingSignal
from inference.core.case import Case
from inference.core.check import plain, seconds
from inference.core.entry_gates import ENTRY_GATES, valid_until
from inference.core.reasons import Facts, Skip

# TRAP: the Order Manager's next release closes an opposite position by itself and still places the order,
# which then opens the other side; not for what says that it is the closing.
_REDUCES = {"exit_strategy": True, "exit_reason": "opposite_signal", "reduce_only": True}


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A signal to emit: the message, and when it stops being true."""

    message: TradingSignal
    valid_until: datetime


def decide(case: Case) -> Signal | Skip:
    """The first gate that denies gives the reason; a signal carries the figures of all of them."""
    amount = case.proposal.requested_quote
    figures: dict[str, Facts] = {}
    cut_by: list[str] = []
    for gate in ENTRY_GATES:
        check = gate(case, amount)
        if check.denied:
            return Skip(check.denied, check.facts)
        figures[gate.__name__] = check.facts
        if check.amount_quote is not None:
            figures[gate.__name__] = {**check.facts, "amount_quote": plain(check.amount_quote)}
            if check.amount_quote < amount:
                cut_by.append(gate.__name__)
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
            "reasoning": _reasoning(case, amount, cut_by),
            "feature_timestamp": case.vector.timestamp.isoformat(),
            "feature_age_s": seconds(case.now - case.vector.timestamp),
            "feature_registry_version": case.vector.feature_registry_version,
            "requested_amount": float(case.proposal.requested_quote),
            "amount": float(amount),
            "amount_cut_by": cut_by,
            "proposal": dict(case.proposal.facts),
            "gates": figures,
            **({} if case.adds_exposure else _REDUCES),
        },
        trace_id=case.trace_id,
    )
    return Signal(message=message, valid_until=valid_until(case))


def _reasoning(case: Case, amount: Decimal, cut_by: Sequence[str]) -> str:
    asked = plain(case.proposal.requested_quote)
    cut = f" of {asked} asked, cut by {', '.join(cut_by)}" if cut_by else ""
    return f"{case.proposal.reasoning}: {case.proposal.side} {case.vector.symbol} for {plain(amount)}{cut}"
