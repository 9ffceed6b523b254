"""A model's part in a decision: what its answer means, and whether to act on it.

Classification: of up (+1) and down (-1) the class with the higher calibrated probability p is taken; it is
acted on where p reaches the threshold and leads the other side, else the answer is HOLD. A class that the
labels do not contain has probability 0. Regression: the sign of the prediction is the direction; it is acted
on where the expected return exceeds what the round trip costs. What an output means stands in the manifest,
never in a setting.
"""

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Literal

import msgspec

from common.core.calibration import Table, interpolate
from common.messages import MarketSnapshot, Side
from inference.core.reasons import Reason, Skip
from inference.core.warmup import Proposal

_CENT = Decimal("0.01")
_PERCENT = 100
_SIDES: dict[int, Side] = {1: "buy", -1: "sell"}


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision needs to know of a version, from its manifest."""

    version: str
    sha256: str
    symbol: str
    task: Literal["classification", "regression"] = "classification"
    volatility_feature: str | None = None
    """Of a risk-adjusted target: a prediction times this feature is a return."""
    features: tuple[str, ...]
    optional_features: frozenset[str]
    labels: tuple[int, ...]
    class_returns: tuple[float, ...] = ()
    """Mean return over the horizon of each class in train, as a fraction; empty: not known."""
    threshold: float
    calibration: tuple[Table, ...]
    sign_confidence: Table = ()
    """Of a regression: size of the prediction -> probability that its sign is right."""
    feature_registry_version: str
    horizon_s: float
    """How far ahead the answer looks, in seconds."""
    label_threshold: float = 0.0
    """A return beyond it, as a fraction, is up or down."""


class ModelPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says about acting on a model."""

    min_amount_quote: Decimal
    max_amount_quote: Decimal
    probability_lead: float
    confidence_threshold: float | None
    """May only raise the version's own threshold."""
    cost_aware: bool
    """Ask of a classification, too, that the move it expects exceeds the costs."""
    round_trip_rate: float
    """Fees and slippage of entry and exit together, as a fraction; the spread comes on top."""


def propose(
    answer: Sequence[float],
    model: Model,
    policy: ModelPolicy,
    snapshot: MarketSnapshot,
    features: Mapping[str, float],
) -> Proposal | Skip:
    """Side, amount and confidence from the model's answer, or why it is not acted on. NaN holds.

    `answer`: calibrated probability of each label, or the prediction of a regression. `features` by the
    model's names.
    """
    if not all(math.isfinite(value) for value in answer):
        return Skip(Reason.HOLD, {**_identity(model), "answer": [_shown(value) for value in answer]})
    if model.task == "regression":
        return _of_regression(answer[0], model, policy, snapshot, features)
    return _of_classification(answer, model, policy, snapshot)


def least_confidence(model: Model, policy: ModelPolicy) -> float:
    """The version's threshold, or the operator's where that is higher."""
    own = policy.confidence_threshold
    return model.threshold if own is None else max(model.threshold, own)


def round_trip_cost(policy: ModelPolicy, snapshot: MarketSnapshot) -> float:
    """What entry and exit cost as a fraction: fees, slippage, and half the spread each.

    A vector without a spread is taken at fees and slippage alone.
    """
    return policy.round_trip_rate + (snapshot.spread or 0.0) / _PERCENT


def _of_classification(
    answer: Sequence[float], model: Model, policy: ModelPolicy, snapshot: MarketSnapshot
) -> Proposal | Skip:
    probabilities = dict(zip(model.labels, answer, strict=True))
    up, down = probabilities.get(1, 0.0), probabilities.get(-1, 0.0)
    label, p, other = (1, up, down) if up >= down else (-1, down, up)
    threshold = least_confidence(model, policy)
    facts = {
        **_identity(model),
        "probabilities": {str(each): _shown(value) for each, value in probabilities.items()},
        "threshold": threshold,
        "lead": _shown(p - other),
    }
    if not p >= threshold or not p > other or not p - other >= policy.probability_lead:
        return Skip(Reason.HOLD, facts)
    sentence = f"p({label:+d}) = {p:.3f} reaches {threshold:.3f}, leads by {p - other:.3f}"
    if policy.cost_aware:
        if not model.class_returns:
            return Skip(Reason.CLASS_RETURNS_UNKNOWN, facts)
        move = math.fsum(each * mean for each, mean in zip(answer, model.class_returns, strict=True))
        cost = round_trip_cost(policy, snapshot)
        facts |= {"expected_move": _shown(move), "round_trip_cost": _shown(cost)}
        if not label * move - cost > 0:
            return Skip(Reason.HOLD_COSTS, facts)
        sentence += f", expects {move:+.5f} at costs of {cost:.5f}"
    return Proposal(
        side=_SIDES[label],
        requested_quote=_requested(p, threshold, policy),
        confidence=min(p, 1.0),
        facts=facts,
        version=model.version,
        reasoning=f"{model.version}: {sentence}",
    )


def _of_regression(
    prediction: float,
    model: Model,
    policy: ModelPolicy,
    snapshot: MarketSnapshot,
    features: Mapping[str, float],
) -> Proposal | Skip:
    facts = {**_identity(model), "prediction": _shown(prediction)}
    size = abs(prediction)
    if model.volatility_feature is not None:
        volatility = features.get(model.volatility_feature)
        if volatility is None:
            missing = {"missing": [model.volatility_feature], "count": 1, "version": model.version}
            return Skip(Reason.FEATURES_MISSING, missing)
        size *= volatility
        facts["volatility"] = _shown(volatility)
    cost = round_trip_cost(policy, snapshot)
    p = interpolate(abs(prediction), model.sign_confidence)
    threshold = least_confidence(model, policy)
    facts |= {
        "expected_return": _shown(math.copysign(size, prediction)),
        "round_trip_cost": _shown(cost),
        "sign_confidence": _shown(p),
        "threshold": threshold,
    }
    if not size > cost:
        return Skip(Reason.HOLD_COSTS, facts)
    if not p >= threshold:
        return Skip(Reason.HOLD, facts)
    return Proposal(
        side=_SIDES[1 if prediction > 0 else -1],
        requested_quote=_requested(p, threshold, policy),
        confidence=min(p, 1.0),
        facts=facts,
        version=model.version,
        reasoning=(
            f"{model.version}: expects {math.copysign(size, prediction):+.5f} at costs of {cost:.5f}, "
            f"its sign is right with p = {p:.3f}"
        ),
    )


def _requested(p: float, threshold: float, policy: ModelPolicy) -> Decimal:
    sureness = (p - threshold) / (1 - threshold) if threshold < 1 else 1.0
    width = policy.max_amount_quote - policy.min_amount_quote
    return (policy.min_amount_quote + width * Decimal(repr(min(sureness, 1.0)))).quantize(_CENT, ROUND_DOWN)


def _identity(model: Model) -> dict[str, object]:
    return {"version": model.version, "sha256": model.sha256}


def _shown(value: float) -> float | None:
    # Significant digits: returns are small.
    return float(f"{value:.6g}") if math.isfinite(value) else None
