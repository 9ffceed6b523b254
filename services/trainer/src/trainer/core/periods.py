"""Periods: which stretch of time is trained on, which validates, which decides?

Rolling windows that end now: the newest stretch is the test, before it the validation, before that train.
They touch and do not overlap; a label that looks across a border is purged later, from the rows themselves.
"""

from datetime import datetime, timedelta

import msgspec


class Period(msgspec.Struct, frozen=True):
    """From `start` up to, not including, `end`."""

    start: datetime
    end: datetime


class Periods(msgspec.Struct, frozen=True, kw_only=True):
    """The three splits of a dataset, one after the other."""

    train: Period
    validation: Period
    test: Period


class Lengths(msgspec.Struct, frozen=True, kw_only=True):
    """How long each split is, in days; fractions allowed."""

    train_days: float
    validation_days: float
    test_days: float


def rolling(now: datetime, lengths: Lengths, *, horizon_s: float) -> Periods:
    """The periods of a training that starts at `now`, on whole seconds of UTC.

    The test ends one horizon ago: a later row cannot have a label yet.
    """
    end = _whole_second(now - timedelta(seconds=horizon_s))
    test_start = end - _whole_seconds(lengths.test_days)
    validation_start = test_start - _whole_seconds(lengths.validation_days)
    train_start = validation_start - _whole_seconds(lengths.train_days)
    return Periods(
        train=Period(train_start, validation_start),
        validation=Period(validation_start, test_start),
        test=Period(test_start, end),
    )


def _whole_second(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)


def _whole_seconds(days: float) -> timedelta:
    return timedelta(seconds=max(1, round(days * 86_400)))
