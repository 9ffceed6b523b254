"""Is the market behind a vector alive?

The Feature Service stamps a vector with the moment of computing, so a dead market feed comes under fresh
timestamps. Its fingerprint gives it away: every feature but the clock's own stays bit-identical.
"""

from collections.abc import Mapping

_TIME_OF_DAY = "time_of_day_"
_TIME_TO_FUNDING = "time_to_funding"


def fingerprint(features: Mapping[str, float]) -> dict[str, float]:
    """What of a vector only the market can change."""
    return {
        name: value
        for name, value in features.items()
        if name != _TIME_TO_FUNDING and not name.startswith(_TIME_OF_DAY)
    }
