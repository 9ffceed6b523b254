"""The signal that closes a position, in the Order Manager's words."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from common.core.exits.dispatch import Issue
from common.core.exits.position import Tracked, Verdict
from common.core.ids import exit_signal_id
from common.messages import MarketSnapshot, TradingSignal

CONFIDENCE = 1.0
"""Above 0.9 the Order Manager sends a market order."""
WITHOUT_DATABASE = "without_database"
"""Key of the metadata that is true where no database answered when the exit was decided."""


def exit_signal(
    tracked: Tracked, issue: Issue, verdicts: tuple[Verdict, ...], now: datetime, trace_id: str
) -> TradingSignal:
    """The signal of `issue`; `verdicts` are those of the price that led to it, none when it is sent again."""
    pnl_pct = tracked.pnl_pct(issue.price)
    return TradingSignal(
        signal_id=exit_signal_id(tracked.lifecycle_id, issue.rule, issue.stage, issue.generation),
        signal_type=tracked.side.closes_with,
        symbol=tracked.symbol,
        amount=float(issue.amount_quote),
        confidence=CONFIDENCE,
        timestamp=now,
        strategy_id=tracked.strategy_id,
        market_data_snapshot=MarketSnapshot(price=float(issue.price)),
        metadata={
            "urgency": True,
            "exit_strategy": True,
            "exit_reason": issue.rule,
            "rule_triggered": issue.rule,
            "reason": f"{issue.rule}_triggered",
            "reduce_only": True,
            "reasoning": _sentence(tracked, issue, pnl_pct),
            "lifecycle_id": str(tracked.lifecycle_id),
            "generation": issue.generation,
            "stage": issue.stage,
            "position_side": tracked.side.value,
            "live_size": _text(abs(tracked.size)),
            "size_to_close": _text(issue.size_to_close),
            "size": _text(issue.size),
            "entry_price": _text(tracked.entry_price),
            "peak_price": _text(tracked.peak_price),
            "price": _text(issue.price),
            "pnl_pct": _text(round(pnl_pct, 6)),
            "rules": [_figures(verdict) for verdict in verdicts],
        },
        trace_id=trace_id,
    )


def _sentence(tracked: Tracked, issue: Issue, pnl_pct: Decimal) -> str:
    rule = issue.rule.replace("_", " ")
    again = f", signal {issue.generation} of this position" if issue.generation > 1 else ""
    return f"{rule}: {tracked.side} at {pnl_pct:+.3f} % of entry {_text(tracked.entry_price)}{again}"


def _figures(verdict: Verdict) -> dict[str, Any]:
    return {
        name: _text(round(value, 12)) if isinstance(value, Decimal) else value
        for name, value in msgspec.structs.asdict(verdict).items()
        if value is not None
    }


def _text(value: Decimal) -> str:
    return f"{value.normalize():f}"
