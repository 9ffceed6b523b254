"""Time ranges of series: what a request may ask for, and what it means where it says nothing."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from litestar.exceptions import ValidationException
from litestar.params import QueryParameter

from common.trading_log import Granularity

DEFAULT_RANGE: dict[Granularity, timedelta] = {
    "hour": timedelta(days=2),
    "day": timedelta(days=30),
    "week": timedelta(weeks=26),
}
"""How far back it goes where no `start_time` is given."""
MAX_RANGE: dict[Granularity, timedelta] = {
    "hour": timedelta(days=92),
    "day": timedelta(days=1830),
    "week": timedelta(days=3660),
}
"""A longer range is refused: nobody reads more points."""
YEARS = range(2000, 2101)
"""Others are mistakes, and at the calendar's ends no arithmetic is possible."""

GranularityChoice = Annotated[Granularity, QueryParameter(description="Calendar periods in UTC.")]
StartTime = Annotated[datetime | None, QueryParameter(description="Inclusive; without an offset UTC.")]
EndTime = Annotated[datetime | None, QueryParameter(description="Exclusive; now where it is not given.")]


def time_range(
    granularity: Granularity, start_time: datetime | None, end_time: datetime | None, *, now: datetime
) -> tuple[datetime, datetime]:
    """Begin (inclusive) and end (exclusive) in UTC. Raises ValidationException, naming the parameter."""
    end = utc("end_time", end_time) if end_time else now
    start = utc("start_time", start_time) if start_time else end - DEFAULT_RANGE[granularity]
    if start >= end:
        raise _fault("start_time", "must be before end_time")
    if end - start > MAX_RANGE[granularity]:
        days = MAX_RANGE[granularity].days
        raise _fault("start_time", f"must be at most {days} days before end_time, by {granularity}")
    return start, end


def utc(name: str, moment: datetime) -> datetime:
    """`moment`, which the parameter `name` gave, in UTC; without an offset it is UTC already."""
    if moment.year not in YEARS:
        raise _fault(name, f"must be in the years {YEARS.start} to {YEARS.stop - 1}")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _fault(name: str, message: str) -> ValidationException:
    return ValidationException(extra=[{"key": name, "message": message}])
