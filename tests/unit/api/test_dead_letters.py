"""Dead letters: kept so that nothing is lost, and replayed only while that can do good."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.dead_letters import letter, objection, restored, storable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HEADERS = {
    "letter_id": "00000000-0000-0000-0000-000000000007",
    "reason": "Unusable: no",
    "queue": "features.live",
    "service": "inference",
    "failed_at": "2026-03-01T11:59:00+00:00",
    "trace_id": "t-1",
    "original-trace_id": "t-0",
    "original-x": b"\xff",
}
TEXTS = st.text(max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | TEXTS
    | st.binary(max_size=20)
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.just(UTC)),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(TEXTS.filter(lambda name: "\x00" not in name), values, max_size=3)
    ),
    max_leaves=10,
)


def kept(body=b"{}", headers=HEADERS, message_id="m-1"):
    return letter(body, headers, content_type="application/json", message_id=message_id, now=NOON)


@given(VALUES)
def test_a_header_is_the_same_after_it_was_stored_as_json(value):
    stored = json.dumps(storable(value), allow_nan=False)

    assert "\\u0000" not in stored
    assert restored(json.loads(stored)) == value


def test_a_letter_keeps_the_messages_own_headers_and_what_became_of_it():
    found = kept(b"\x00\xff")

    assert found.letter_id == UUID(int=7)
    assert (found.queue, found.service, found.reason) == ("features.live", "inference", "Unusable: no")
    assert found.body == b"\x00\xff"
    assert {name: restored(value) for name, value in found.headers.items()} == {
        "trace_id": "t-0",
        "x": b"\xff",
    }
    assert (found.trace_id, found.failed_at) == ("t-1", NOON - MINUTE)


def test_a_letter_is_cut_to_the_columns_that_keep_it():
    long = "x" * 2000
    names = ("queue", "service", "reason", "trace_id")

    found = letter(
        b"", dict.fromkeys((*names, f"original-{long}"), long), content_type=long, message_id=long, now=NOON
    )

    assert {name: len(getattr(found, name)) for name in (*names, "content_type", "message_id")} == {
        "queue": 255,
        "service": 100,
        "reason": 1000,
        "trace_id": 100,
        "content_type": 255,
        "message_id": 255,
    }
    assert [len(name) for name in found.headers] == [255]
    assert (kept().content_type, kept().message_id) == ("application/json", "m-1")


@pytest.mark.parametrize(
    ("told", "failed_at"),
    [
        ("2026-03-01T11:59:00", NOON - MINUTE),  # naive is UTC
        ("2026-03-01T13:59:00+02:00", NOON - MINUTE),
        (NOON - MINUTE, NOON - MINUTE),
        ("yesterday", NOON),
        (None, NOON),
    ],
)
def test_a_letter_failed_when_it_says_or_else_now(told, failed_at):
    assert kept(headers={**HEADERS, "failed_at": told}).failed_at == failed_at


def test_text_that_the_database_cannot_store_is_kept_as_what_it_is():
    assert storable("a\x00") == {"type": "text", "value": "YQA="}


def without_id(**changes):
    return {name: value for name, value in HEADERS.items() if name != "letter_id"} | changes


def test_a_letter_without_an_id_has_the_one_of_its_content():
    ids = [
        kept(headers=headers, body=body, message_id=message_id).letter_id
        for headers, body, message_id in [
            (without_id(), b"a", "m"),
            (dict(reversed(without_id().items())), b"a", "m"),
            (without_id(letter_id="not a uuid"), b"a", "m"),
            (without_id(), b"b", "m"),
            (without_id(failed_at="2026-03-01T11:59:01+00:00"), b"a", "m"),
            (without_id(), b"a", None),
        ]
    ]

    assert ids[0] == ids[1]
    assert len(set(ids)) == 5


@given(
    st.dictionaries(
        st.sampled_from(sorted({*HEADERS, "original-\x00", "other"})), VALUES, max_size=len(HEADERS)
    ),
    st.none() | TEXTS,
)
def test_whatever_a_letter_says_of_itself_it_can_be_stored(headers, message_id):
    found = kept(headers=headers, message_id=message_id)

    texts = (found.queue, found.service, found.reason, found.trace_id, found.message_id or "")
    assert not any("\x00" in text for text in (*texts, *found.headers))
    assert len(found.queue) <= 255
    assert len(found.service) <= 100
    assert found.failed_at.tzinfo is not None
    json.dumps(found.headers, allow_nan=False)


def vector(age, **changes):
    return json.dumps({"timestamp": (NOON - age).isoformat(), "symbol": "BTCUSDT", **changes}).encode()


@pytest.mark.parametrize(
    ("kind", "body", "valid_until", "code"),
    [
        ("vector", vector(MINUTE), None, None),
        ("vector", vector(MINUTE, timestamp="2026-03-01T11:59:30"), None, None),  # naive is UTC
        ("vector", vector(MINUTE + timedelta(seconds=1)), None, "stale"),
        ("vector", b"\xff", None, "not_replayable"),
        ("vector", b"[" * 100_000, None, "not_replayable"),
        ("vector", b'{"timestamp": "soon"}', None, "not_replayable"),
        ("signal", b"{}", NOON + timedelta(seconds=1), None),
        ("signal", b"{}", NOON, "stale"),
        ("signal", b"{}", None, "stale"),
        ("lasting", b"\xff", None, None),
        ("hint", b"{}", None, "not_replayable"),
        ("foreign", b"{}", None, "not_replayable"),
    ],
)
def test_a_letter_goes_back_only_while_its_message_matters(kind, body, valid_until, code):
    against = objection(kind, body, valid_until=valid_until, max_age=MINUTE, now=NOON)

    assert (against and against.code) == code
    assert against is None or against.sentence
