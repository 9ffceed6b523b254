"""Screening: the market as a vector shows it, or why nobody should act on it."""

from common.messages import FeatureVector, MarketSnapshot
from inference.core.case import Screening
from inference.core.reasons import Skip
from inference.core.vector_gates import VECTOR_GATES

_PERCENT = 100


def screen(screening: Screening) -> Skip | MarketSnapshot:
    """The market as the vector shows it, once it passed every gate that needs nothing else."""
    for gate in VECTOR_GATES:
        check = gate(screening)
        if check.denied:
            return Skip(check.denied, check.facts)
    return snapshot_of(screening.vector)


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
