"""What a worker remembers of a symbol's stream: is this vector the newest, and does the market still move?"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from common.core.market_feed import fingerprint


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol's stream up to its newest vector."""

    newest: datetime
    fingerprint: Mapping[str, float]
    changed_at: datetime | None
    """Timestamp of the vector that last changed the fingerprint; None: no change seen yet."""


def observe(stream: Stream | None, timestamp: datetime, features: Mapping[str, float]) -> Stream:
    """The stream after a vector; one that is not newer changes nothing."""
    seen = fingerprint(features)
    if stream is None:
        return Stream(newest=timestamp, fingerprint=seen, changed_at=None)
    if timestamp <= stream.newest:
        return stream
    changed = seen != stream.fingerprint
    return Stream(newest=timestamp, fingerprint=seen, changed_at=timestamp if changed else stream.changed_at)
