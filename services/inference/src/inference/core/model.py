"""A model's part in a decision: which row it gets, and what its probabilities mean.

Of the classes up (+1) and down (-1) the one with the higher calibrated probability p is taken; it is acted on
where p reaches the threshold and leads the other side, else the answer is HOLD. What a class index means
stands in the manifest, never in a setting.
"""

import math
from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal

import msgspec

from common.core.calibration import Table, calibrate
from common.messages import Side
from inference.core.reasons import Reason, Skip
from inference.core.warmup import Proposal

_CENT = Decimal("0.01")
_SIDES: dict[int, Side] = {1: "buy", -1: "sell"}


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision needs to know of a version, from its manifest."""

    version: str
    sha256: str
    symbol: str
    features: tuple[str, ...]
    optional_features: frozenset[str]
    labels: tuple[int, ...]
    threshold: float
    calibration: tuple[Table, ...]
    feature_registry_version: str


class ModelPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says about acting on a model."""

    min_amount_quote: Decimal
    max_amount_quote: Decimal
    probability_lead: float
    confidence_threshold: float | None
    """May only raise the version's own threshold."""


def propose(raw: Sequence[float], model: Model, policy: ModelPolicy) -> Proposal | Skip:
    """Side, amount and confidence from the model's raw probabilities, or HOLD. NaN holds."""
    calibrated = dict(zip(model.labels, calibrate(raw, model.calibration), strict=True))
    up, down = calibrated.get(1, math.nan), calibrated.get(-1, math.nan)
    label, p, other = (1, up, down) if up >= down else (-1, down, up)
    threshold = max(model.threshold, policy.confidence_threshold or 0.0)
    facts: dict[str, object] = {
        "version": model.version,
        "sha256": model.sha256,
        "probabilities": {str(each): _shown(value) for each, value in calibrated.items()},
        "threshold": threshold,
        "lead": _shown(p - other),
    }
    if not p >= threshold or not p - other >= policy.probability_lead:
        return Skip(Reason.HOLD, facts)
    return Proposal(
        side=_SIDES[label],
        requested_quote=_requested(p, threshold, policy),
        confidence=min(p, 1.0),
        facts=facts,
        version=model.version,
        reasoning=(
            f"{model.version}: p({label:+d}) = {p:.3f} reaches {threshold:.3f}, leads by {p - other:.3f}"
        ),
    )


def _requested(p: float, threshold: float, policy: ModelPolicy) -> Decimal:
    sureness = (p - threshold) / (1 - threshold) if threshold < 1 else 1.0
    width = policy.max_amount_quote - policy.min_amount_quote
    return (policy.min_amount_quote + width * Decimal(repr(min(sureness, 1.0)))).quantize(_CENT, ROUND_DOWN)


def _shown(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
