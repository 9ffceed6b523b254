"""Warm-up: a careful heuristic trades small while a strategy has no model.

Direction: momentum of the longer returns against mean reversion of the shortest one, each scaled by its own
spread, blended with chance by WARMUP_RANDOMNESS_LEVEL. The random source is seeded from the signal id, so a
redelivered vector decides identically on every replica.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Protocol

import msgspec

from common.messages import Side
from inference.core.reasons import Reason, Skip

CONFIDENCE = 0.5
"""A coin's: warm-up claims no knowledge."""
MAX_SLOTS = 1_000
"""Slots that are looked back at, at most; earlier ones are forgotten."""
_RETURNS = "returns_"
_CENT = Decimal("0.01")
_TYPICAL_RETURN = 0.001
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Uniform(Protocol):
    """A seeded source of numbers in [0, 1)."""

    def random(self) -> float:
        """The next number."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy would do with a vector before any gate but the vector's own looked at it."""

    side: Side
    requested_quote: Decimal
    confidence: float
    facts: Mapping[str, object]
    reasoning: str
    """One sentence for the record."""
    version: str | None = None
    """The model version that proposes; None: warm-up."""


class WarmUp(msgspec.Struct, frozen=True, kw_only=True):
    """The warm-up settings."""

    enabled: bool
    min_amount_quote: Decimal
    max_amount_quote: Decimal
    randomness: float
    """0: the heuristic alone, 1: chance alone."""
    signals_per_minute: float


def propose(features: Mapping[str, float], warm_up: WarmUp, rng: Uniform) -> Proposal | Skip:
    """Side and amount from the returns at hand; the same features and source always give the same.

    Returns that point nowhere, or are no numbers, give no side: none is made up.
    """
    returns = {name: value for name, value in features.items() if name.startswith(_RETURNS)}
    if not returns:
        return Skip(Reason.NO_DIRECTION, {"features": len(features), "returns": 0})
    heuristic = _score(returns, features)
    chance = 2 * rng.random() - 1
    score = (1 - warm_up.randomness) * heuristic + warm_up.randomness * chance
    if not abs(score) > 0:
        return Skip(Reason.NO_DIRECTION, {"features": len(features), "returns": len(returns)})
    width = warm_up.max_amount_quote - warm_up.min_amount_quote
    amount = warm_up.min_amount_quote + width * Decimal(repr(rng.random()))
    facts = {"heuristic": round(heuristic, 6), "chance": round(chance, 6), "score": round(score, 6)}
    side: Side = "buy" if score > 0 else "sell"
    return Proposal(
        side=side,
        requested_quote=max(amount.quantize(_CENT, ROUND_DOWN), warm_up.min_amount_quote),
        confidence=CONFIDENCE,
        facts=facts,
        reasoning=f"warm-up {side}: score {score:+.3f} from recent returns",
    )


def slot_of(now: datetime, signals_per_minute: float) -> datetime:
    """Start of the time slot that `now` falls into; one warm-up signal of the fleet fits into a slot."""
    length_s = 60 / signals_per_minute
    # A hair added: n * length / length may come out just below n.
    slots = math.floor((now - _EPOCH) / timedelta(seconds=1) / length_s + 1e-9)
    return _EPOCH + timedelta(seconds=slots * length_s)


def slots_between(after: datetime, until: datetime, signals_per_minute: float) -> tuple[datetime, ...]:
    """Starts of the slots that begin after `after` and end by `until`, at most MAX_SLOTS of them."""
    length_s = 60 / signals_per_minute
    first = math.floor((after - _EPOCH) / timedelta(seconds=1) / length_s + 1e-9) + 1
    past_last = math.floor((until - _EPOCH) / timedelta(seconds=1) / length_s + 1e-9)
    numbers = range(max(first, past_last - MAX_SLOTS), past_last)
    return tuple(_EPOCH + timedelta(seconds=number * length_s) for number in numbers)


def _score(returns: Mapping[str, float], features: Mapping[str, float]) -> float:
    shortest, *longer = sorted(returns, key=_window_order)
    scale = next(
        (v for n, v in sorted(features.items()) if n.startswith("volatility_") and v > 0), _TYPICAL_RETURN
    )
    reversion = -math.tanh(returns[shortest] / scale)
    if not longer:
        return reversion
    momentum = math.tanh(sum(returns[name] for name in longer) / len(longer) / scale)
    return (2 * momentum + reversion) / 3


def _window_order(name: str) -> tuple[float, str]:
    # returns_3s, returns_1m, or returns_12 (bars): by length, bars count as seconds among themselves.
    window = name.removeprefix(_RETURNS)
    unit_s = {"s": 1, "m": 60, "h": 3600}.get(window[-1:], 1)
    digits = window.rstrip("smh")
    return (float(digits) * unit_s if digits.isdigit() else math.inf, name)
