"""Filters that a request may leave out."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, literal, tuple_

from api.core.pages import Window
from common.database import naive_utc


def equal(*wanted: tuple[ColumnElement[Any], object]) -> list[ColumnElement[bool]]:
    """`column == value` for each value that was given."""
    return [column == value for column, value in wanted if value is not None]


def within(
    window: Window, time: ColumnElement[datetime], row_id: ColumnElement[Any]
) -> list[ColumnElement[bool]]:
    """The rows of the window, which are listed by `time` and then `row_id`, the greatest first."""

    # Adopted tables hold naive UTC.
    def moment(at: datetime) -> ColumnElement[datetime]:
        return literal(at if getattr(time.type, "timezone", False) else naive_utc(at), time.type)

    found: list[ColumnElement[bool]] = []
    if window.start:
        found.append(time >= moment(window.start))
    if window.end:
        found.append(time < moment(window.end))
    if window.before and window.before.id is None:
        found.append(time < moment(window.before.at))
    elif window.before:
        seen = tuple_(moment(window.before.at), literal(window.before.id, row_id.type))
        found.append(tuple_(time, row_id) < seen)
    return found
