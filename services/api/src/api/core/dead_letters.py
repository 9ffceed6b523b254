"""Dead letters: what is kept of one, and whether it may still go back to its queue."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec

from api.core.versions import Objection
from common.core import letters

Kind = Literal["vector", "signal", "lasting", "hint", "foreign"]
"""What a queue carries: `lasting` matters however old it is, for its readers know what they have seen; a
`hint` was for our own processes; of a `foreign` queue the fleet knows nothing."""

_BARE = (str, int, bool, type(None))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


_WRITTEN: dict[str, tuple[type | tuple[type, ...], Callable[[Any], str], Callable[[str], Any]]] = {
    "bytes": ((bytes, bytearray), _base64, lambda written: bytearray(base64.b64decode(written))),
    "time": (datetime, datetime.isoformat, datetime.fromisoformat),
    "decimal": (Decimal, str, Decimal),
    "float": (float, float.hex, float.fromhex),
}
"""How a header that JSON does not know is written, and read again."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be used, as it came."""

    letter_id: UUID
    queue: str
    """Where it was read; empty: one of our own fan-outs."""
    service: str
    """Who could not use it."""
    reason: str
    body: bytes
    headers: dict[str, Any]
    """Its own, as `storable` keeps them."""
    content_type: str | None
    message_id: str | None
    trace_id: str
    failed_at: datetime


def letter(
    body: bytes,
    headers: Mapping[str, Any],
    *,
    content_type: str | None,
    message_id: str | None,
    now: datetime,
) -> Letter:
    """What is kept of the dead letter with these broker headers; whatever they lack is made up for.

    A letter without an id of its own has the one that its content gives it: told twice, it is still one.
    """
    return Letter(
        letter_id=_letter_id(body, headers, message_id),
        queue=_text(headers.get(letters.QUEUE), 255),
        service=_text(headers.get(letters.SERVICE), 100),
        reason=_text(headers.get(letters.REASON), 1000),
        body=body,
        headers={
            _text(name.removeprefix(letters.ORIGINAL), 255): storable(value)
            for name, value in headers.items()
            if name.startswith(letters.ORIGINAL)
        },
        content_type=_text(content_type, 255) or None,
        message_id=_text(message_id, 255) or None,
        trace_id=_text(headers.get("trace_id"), 100),
        failed_at=_instant(headers.get(letters.FAILED_AT)) or now,
    )


def storable(value: Any) -> Any:
    """A header's value as JSON that `restored` turns back into exactly that value.

    Text, whole numbers, truth and null stay as they are; anything else says its type beside it.
    """
    if isinstance(value, Mapping):
        return _typed("table", {_text(name, 255): storable(each) for name, each in value.items()})
    if isinstance(value, (list, tuple)):
        return [storable(each) for each in value]
    if isinstance(value, str) and "\x00" in value:  # PostgreSQL stores none
        return _typed("text", _base64(value.encode()))
    for kind, (of, written, _) in _WRITTEN.items():
        if isinstance(value, of):
            return _typed(kind, written(value))
    return value if isinstance(value, _BARE) else str(value)


def restored(value: Any) -> Any:
    """The header's value that `storable` made `value` of."""
    if isinstance(value, list):
        return [restored(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    kind, kept = value["type"], value["value"]
    if kind == "table":
        return {name: restored(each) for name, each in kept.items()}
    if kind == "text":
        return base64.b64decode(kept).decode()
    return _WRITTEN[kind][2](kept)


def objection(
    kind: Kind, body: bytes, *, valid_until: datetime | None, max_age: timedelta, now: datetime
) -> Objection | None:
    """What stands against sending a letter back to its queue of that kind; None: nothing does.

    A vector is `stale` once it is older than `max_age`, a trading signal once its validity is over
    (`valid_until`; None: the ledger does not know it). What else was not meant to be read later is
    `not_replayable`.
    """
    match kind:
        case "lasting":
            return None
        case "vector":
            return _vector_objection(body, max_age, now)
        case "signal":
            return _signal_objection(valid_until, now)
        case "hint":
            return Objection(
                "not_replayable", "it was a hint to our own processes, which have asked the database since"
            )
        case "foreign":
            return Objection("not_replayable", "its queue is none that the fleet reads or writes")


def _vector_objection(body: bytes, max_age: timedelta, now: datetime) -> Objection | None:
    computed_at = _timestamp(body)
    if computed_at is None:
        return Objection("not_replayable", "no timestamp can be read from it, so its age is not known")
    age = now - computed_at
    if age <= max_age:
        return None
    return Objection(
        "stale",
        f"the vector is {age.total_seconds():.0f} s old, "
        f"MARKET_DATA_MAX_AGE_SECONDS is {max_age.total_seconds():g}",
    )


def _signal_objection(valid_until: datetime | None, now: datetime) -> Objection | None:
    if valid_until is None:
        return Objection("stale", "the ledger knows no validity of this signal")
    if now < valid_until:
        return None
    return Objection("stale", f"the signal was valid until {valid_until.isoformat(timespec='seconds')}")


class _Stamped(msgspec.Struct):
    timestamp: datetime


_stamped = msgspec.json.Decoder(_Stamped)


def _timestamp(body: bytes) -> datetime | None:
    try:
        instant = _stamped.decode(body).timestamp
    except (msgspec.DecodeError, RecursionError):
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def _letter_id(body: bytes, headers: Mapping[str, Any], message_id: str | None) -> UUID:
    try:
        return UUID(str(headers[letters.LETTER_ID]))
    except (KeyError, ValueError):
        content = msgspec.json.encode(
            [storable(dict(sorted(headers.items()))), message_id, hashlib.sha256(body).hexdigest()]
        )
        return uuid5(NAMESPACE_OID, content.decode())


def _text(value: object, longest: int) -> str:
    if value is None:
        return ""
    return str(value).replace("\x00", "\N{REPLACEMENT CHARACTER}")[:longest]


def _instant(value: object) -> datetime | None:
    if isinstance(value, datetime):
        found = value
    else:
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _typed(kind: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "value": value}
