"""What a worker remembers of a symbol's stream: is this vector the newest, and is the market alive?

The Feature Service stamps a vector with the moment of computing, so a dead market feed comes under fresh
timestamps. Its fingerprint gives it away: every feature but the clock's own stays bit-identical.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

_CLOCK_FEATURES = frozenset({"time_of_day_sin", "time_of_day_cos", "time_to_funding"})


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol's stream up to its newest vector."""

    newest: datetime
    fingerprint: Mapping[str, float]
    changed_at: datetime | None
    """Timestamp of the vector that last changed the fingerprint; None: no change seen yet."""


def observe(stream: Stream | None, timestamp: datetime, features: Mapping[str, float]) -> Stream:
    """The stream after a vector; one that is not newer changes nothing."""
    fingerprint = {name: value for name, value in features.items() if name not in _CLOCK_FEATURES}
    if stream is None:
        return Stream(newest=timestamp, fingerprint=fingerprint, changed_at=None)
    if timestamp <= stream.newest:
        return stream
    changed = fingerprint != stream.fingerprint
    return Stream(
        newest=timestamp, fingerprint=fingerprint, changed_at=timestamp if changed else stream.changed_at
    )
