"""Positions, prices and rules in few words, and a chain of prices through one position."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec

from common.core.exits.position import Opening, Price, View, opened
from common.core.exits.rules import Rules, Stage, StopLoss, TakeProfit, TimeLimit, TrailingStop
from common.core.exits.step import Exit, step

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MAX_AGE = timedelta(seconds=60)


def long(entry="100", size="1", **changes):
    return tracked(entry, Decimal(size), **changes)


def short(entry="100", size="1", **changes):
    return tracked(entry, -Decimal(size), **changes)


def tracked(entry, size, **changes):
    view = View(symbol="BTCUSDT", size=size, entry_price=Decimal(entry), seen_at=START)
    opening = Opening(lifecycle_id=UUID(int=1), strategy_id="momentum", opened_at=START)
    return msgspec.structs.replace(opened(view, Decimal(entry), opening), **changes)


def price(value, at=START):
    return Price(value=None if value is None else Decimal(value), seen_at=at, source="test")


def sl(pct, **more):
    return {"stop_loss": StopLoss(loss_pct=Decimal(pct), **more)}


def tp(*stages, **more):
    ladder = tuple(Stage(profit_pct=Decimal(at), close_pct=Decimal(share)) for at, share in stages)
    return {"take_profit": TakeProfit(ladder=ladder, **more)}


def trail(activation, distance, lock_in=None):
    rule = TrailingStop(
        activation_pct=Decimal(activation),
        distance_pct=Decimal(distance),
        lock_in_pct=None if lock_in is None else Decimal(lock_in),
    )
    return {"trailing_stop": rule}


def hold_for(hours, target="1000"):
    rule = TimeLimit(max_hold=timedelta(hours=hours), profit_target_pct=Decimal(target))
    return {"time_limit": rule}


def rules(*groups):
    merged = {name: rule for group in groups for name, rule in group.items()}
    return Rules(**merged)


def looked(position, value, of, at=START):
    """What one price does: (position, verdicts, decision)."""
    return step(position, price(value, at), of, at, MAX_AGE)


def chain(position, of, *looks):
    """What every price of a chain decides, each exit being filled before the next price.

    A look is a price or (price, hours held); a decision reads "hold" or "rule share".
    """
    decisions = []
    for number, look in enumerate(looks):
        value, hours = look if isinstance(look, tuple) else (look, None)
        at = START + (timedelta(seconds=number) if hours is None else timedelta(hours=hours))
        position, _, decision = looked(position, value, of, at)
        if isinstance(decision, Exit):
            decisions.append(f"{decision.verdict.rule} {decision.verdict.close_pct}")
            position = msgspec.structs.replace(position, latched_rule=None)
        else:
            decisions.append("hold")
    return decisions, position
