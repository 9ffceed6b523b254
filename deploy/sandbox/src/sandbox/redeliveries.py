"""Redeliveries: how often did the broker give one message out again? Counted as it is heard, and not kept."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from common import topology
from sandbox.core.audit.record import Heard, Redelivered

CONSUMED = frozenset(
    queue.name
    for queue in (
        topology.FEATURES_LIVE,
        topology.DATASET_READY,
        topology.POSITION_UPDATED,
        topology.DEAD_LETTERS,
    )
)
"""The queues that our services consume."""
MOST_COUNTED = 10_000
"""Messages that are counted at once; above that, what was given out again longest ago is forgotten."""
_DIGEST_CHARACTERS = 16


class Redeliveries:
    """What was given out again so far; every message that is no delivery of ours is passed on."""

    def __init__(self, pass_on: Callable[[Heard], None]) -> None:
        self._pass_on = pass_on
        self._counted: OrderedDict[tuple[str, str], Redelivered] = OrderedDict()

    def heard(self, message: Heard) -> None:
        """A message crossed the wire."""
        if message.is_sent or message.queue not in CONSUMED:
            self._pass_on(message)
        elif message.is_redelivered:
            self._count(message)

    def counted(self) -> list[Redelivered]:
        """One of each message that was given out again."""
        return list(self._counted.values())

    def _count(self, message: Heard) -> None:
        digest = hashlib.sha256(message.body).hexdigest()[:_DIGEST_CHARACTERS]
        key = (message.queue, digest)
        before = self._counted.pop(key, None) or Redelivered(
            queue=message.queue, digest=digest, times=0, first_at=message.at, last_at=message.at
        )
        self._counted[key] = msgspec.structs.replace(before, times=before.times + 1, last_at=message.at)
        if len(self._counted) > MOST_COUNTED:
            self._counted.popitem(last=False)
