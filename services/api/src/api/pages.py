"""What requests say of pages that go back in time."""

from datetime import datetime
from typing import Annotated

from litestar.exceptions import ValidationException
from litestar.params import QueryParameter

from api.core.pages import Cursor, Window, cursor_of
from api.periods import utc

Before = Annotated[
    str | None,
    QueryParameter(max_length=80, description="Only what is older: `next_before` of a page, or a time."),
]
FromTime = Annotated[
    datetime | None, QueryParameter(description="Only what is not older; without an offset UTC.")
]
ToTime = Annotated[datetime | None, QueryParameter(description="Only what is older; without an offset UTC.")]


def window(
    *,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    before: str | None = None,
    limit: int,
) -> Window:
    """The window that the parameters name, in UTC. Raises ValidationException, naming the parameter."""
    start = utc("start_time", start_time) if start_time else None
    end = utc("end_time", end_time) if end_time else None
    if start and end and start >= end:
        raise ValidationException(extra=[{"key": "start_time", "message": "must be before end_time"}])
    return Window(start=start, end=end, before=_cursor(before) if before else None, limit=limit)


def _cursor(text: str) -> Cursor:
    try:
        cursor = cursor_of(text)
    except ValueError:
        fault = {"key": "before", "message": "must be `next_before` of a page, or a time"}
        raise ValidationException(extra=[fault]) from None
    return Cursor(utc("before", cursor.at), cursor.id)
