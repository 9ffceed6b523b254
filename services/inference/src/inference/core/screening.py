"""Screening: the market as a vector shows it, or why nobody should act on it."""

from common.messages import MarketSnapshot
from inference.core.case import Screening
from inference.core.reasons import Skip
from inference.core.snapshot import snapshot_of
from inference.core.vector_gates import VECTOR_GATES


def screen(screening: Screening) -> Skip | MarketSnapshot:
    """The market as the vector shows it, once it passed every gate that needs nothing else."""
    for gate in VECTOR_GATES:
        check = gate(screening)
        if check.denied:
            return Skip(check.denied, check.facts)
    return snapshot_of(screening.vector, screening.snapshot_features, screening.known_price)
