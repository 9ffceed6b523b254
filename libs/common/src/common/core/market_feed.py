"""Is the market behind a vector alive?

The Feature Service stamps a vector with the moment of computing, so a dead market feed comes under fresh
timestamps. Its fingerprint gives it away: every feature but the clock's own stays bit-identical.
"""

from collections.abc import Mapping

_CLOCK_FEATURES = frozenset({"time_of_day_sin", "time_of_day_cos", "time_to_funding"})


def fingerprint(features: Mapping[str, float]) -> dict[str, float]:
    """What of a vector only the market can change."""
    return {name: value for name, value in features.items() if name not in _CLOCK_FEATURES}
