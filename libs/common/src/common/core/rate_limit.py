"""Token bucket: how many signals may still be sent now.

The bucket is a value; whoever stores it decides how widely the limit holds (a database row: fleet-wide).
"""

from datetime import datetime, timedelta

import msgspec


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens left at an instant."""

    tokens: float
    refilled_at: datetime


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """`per_minute` tokens flow in, `burst` is what the bucket holds at most."""

    per_minute: float
    burst: float


def full(rate: Rate, now: datetime) -> Bucket:
    """The bucket before anything was taken."""
    return Bucket(tokens=rate.burst, refilled_at=now)


def refilled(bucket: Bucket, rate: Rate, now: datetime) -> Bucket:
    """The bucket at `now`; a clock that went back adds nothing and takes nothing."""
    elapsed_s = max(0.0, (now - bucket.refilled_at) / timedelta(seconds=1))
    tokens = min(rate.burst, bucket.tokens + elapsed_s * rate.per_minute / 60)
    return Bucket(tokens=tokens, refilled_at=max(bucket.refilled_at, now))


def has_token(bucket: Bucket) -> bool:
    """Whether one more signal may be sent. NaN denies."""
    return bucket.tokens >= 1.0


def taken(bucket: Bucket) -> Bucket:
    """The bucket after one signal."""
    return Bucket(tokens=bucket.tokens - 1.0, refilled_at=bucket.refilled_at)
