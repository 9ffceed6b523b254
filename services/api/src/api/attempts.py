"""Wrong keys are counted by the address that they come from: who tries too often waits.

That keeps guessing scripts and misconfigured clients from filling the log, not a long key from being guessed:
its length does that. The right key is never made to wait, for behind a proxy all clients share an address.
"""

import math
from collections import OrderedDict
from datetime import datetime
from ipaddress import IPv6Address, ip_address

from common.core.rate_limit import Bucket, Rate, full, has_token, refilled, taken

MAX_CLIENTS = 10_000
"""Addresses that are remembered; beyond them the one that has been quiet for longest is forgotten."""


class Attempts:
    """How many wrong keys each address may still send: `per_minute` flow in, as many are there at first."""

    def __init__(self, per_minute: int) -> None:
        self._rate = Rate(per_minute=per_minute, burst=per_minute)
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def count(self, client: str, now: datetime) -> int | None:
        """None: the wrong key of `client` was counted. Else it is one too many; seconds to wait."""
        address = _network(client)
        bucket = refilled(self._buckets.pop(address, full(self._rate, now)), self._rate, now)
        allowed = has_token(bucket)
        self._buckets[address] = taken(bucket) if allowed else bucket
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return None if allowed else max(1, math.ceil((1 - bucket.tokens) * 60 / self._rate.per_minute))


# Whoever has one IPv6 address has its whole /64.
def _network(client: str) -> str:
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if not isinstance(address, IPv6Address):
        return client
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
