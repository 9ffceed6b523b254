"""What a worker remembers of a symbol's stream: is this vector the newest, and does the market still move?"""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from common.core.market_feed import fingerprint

FUTURE_TOLERANCE_S = 2.0
"""How far the clocks of two machines may be apart, in seconds."""

_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol's stream up to its newest vector."""

    newest: datetime
    fingerprint: Mapping[str, float]
    changed_at: datetime | None
    """Timestamp of the vector that last changed the fingerprint; None: no change seen yet."""


def observe(
    stream: Stream | None,
    timestamp: datetime,
    features: Mapping[str, float],
    *,
    believed_until: datetime = _END_OF_TIME,
) -> Stream:
    """The stream after a vector; one that is not newer changes nothing.

    Nor does one stamped later than `believed_until`: as the newest it would silence every vector until the
    future it came from.
    """
    seen = fingerprint(features)
    if stream is None:
        newest = timestamp if timestamp <= believed_until else _BEGINNING
        return Stream(newest=newest, fingerprint=seen, changed_at=None)
    if timestamp <= stream.newest or timestamp > believed_until:
        return stream
    changed = seen != stream.fingerprint
    return Stream(newest=timestamp, fingerprint=seen, changed_at=timestamp if changed else stream.changed_at)
