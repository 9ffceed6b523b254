"""Pages of what only grows: from the newest back in time, no row twice and none lost.

A cursor is the last row that was seen: its time and, because rows may share one, its id.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import msgspec

T = TypeVar("T")

_SEPARATOR = "~"


class Cursor(msgspec.Struct, frozen=True):
    """Where a page goes on; without an id nothing of that instant was seen, and nothing of it is wanted."""

    at: datetime
    id: UUID | None = None


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that a request asks for, by their time."""

    start: datetime | None = None
    """Inclusive."""
    end: datetime | None = None
    """Exclusive."""
    before: Cursor | None = None
    limit: int


def cursor_of(text: str) -> Cursor:
    """The cursor that `next_before` names, or a bare time. Raises ValueError where it is neither."""
    at, _, row_id = text.partition(_SEPARATOR)
    return Cursor(datetime.fromisoformat(at), UUID(row_id) if row_id else None)


def text_of(cursor: Cursor) -> str:
    """The cursor as a query parameter holds it, unescaped."""
    at = cursor.at.astimezone(UTC).replace(tzinfo=None).isoformat()
    return f"{at}Z" if cursor.id is None else f"{at}Z{_SEPARATOR}{cursor.id}"


def cut(found: list[T], limit: int, place: Callable[[T], Cursor]) -> tuple[list[T], str | None]:
    """The first `limit` of `found` and, where there are more, the text of the cursor that goes on."""
    page = found[:limit]
    return page, text_of(place(page[-1])) if len(found) > limit else None
