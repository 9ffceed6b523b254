from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.pages import Cursor, cursor_of, cut, text_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE = UUID(int=1)

cursors = st.builds(
    Cursor, st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)), st.uuids()
)


@given(cursors)
def test_a_cursor_survives_its_text(cursor):
    assert cursor_of(text_of(cursor)) == cursor


@given(cursors)
def test_a_cursor_needs_no_escaping_in_a_url(cursor):
    assert set(text_of(cursor)) <= set("0123456789abcdef-:.TZ~")


def test_a_cursor_is_written_in_utc():
    assert text_of(Cursor(NOON.astimezone(timezone(timedelta(hours=2))))) == "2026-03-01T12:00:00Z"


@pytest.mark.parametrize("text", ["", "~", "yesterday", "2026-03-01T12:00:00Z~1", f"~{ONE}"])
def test_what_is_no_cursor_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        cursor_of(text)


@pytest.mark.parametrize(
    ("limit", "page", "goes_on"),
    [(4, [1, 2, 3], None), (3, [1, 2, 3], None), (2, [1, 2], f"2026-03-01T12:00:00Z~{UUID(int=2)}")],
)
def test_a_page_goes_on_after_its_last_row_where_there_are_more(limit, page, goes_on):
    assert cut([1, 2, 3], limit, lambda row: Cursor(NOON, UUID(int=row))) == (page, goes_on)
