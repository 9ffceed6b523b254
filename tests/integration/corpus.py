"""Bodies that nobody should send, each with a name: 200 or more for every message and every request.

`hostile(good)` breaks a good JSON object in each way known here: its bytes, its encoding, its shape, and
each of its fields with each value that no field expects. Which of them a reader may accept after all (an
ignored key, text in a free field) is for the reader to say: it must never fall over.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Body = tuple[str, bytes]

HUGE_BYTES = 5_000_000
DEPTH = 100_000

_RAW_VALUES = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "minus Infinity": "-Infinity",
    "number beyond double": "1e400",
    "many digits": "9" * 5000,
    "64 bits and one": "18446744073709551616",
    "tiny": "1e-400",
    "minus zero": "-0.0",
    "hex": "0x10",
    "leading zero": "007",
    "lone surrogate": '"\\ud800"',
    "NUL": '"\\u0000"',
    "control": '"\\u001b[31m\\r\\n{\\"event\\": \\"forged\\"}"',
    "raw control": '"a\x01b"',
    "deep": "[" * 2000 + "]" * 2000,
    "undefined": "undefined",
}
_VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "float": 1.5,
    "empty text": "",
    "blank": "   ",
    "empty list": [],
    "empty object": {},
    "list": [1, "a", None],
    "object": {"$gt": ""},
    "text NaN": "NaN",
    "text Infinity": "-Infinity",
    "text exponent": "1E+999999999",
    "long text": "A" * 20_000,
    "sql": "'; DROP TABLE trading_signals; --",
    "sql or": "1' OR '1'='1",
    "sql union": "x' UNION SELECT rolpassword FROM pg_authid --",
    "path": "../../../../etc/passwd",
    "path encoded": "..%2f..%2fetc%2fpasswd",
    "path windows": "..\\..\\windows\\system32",
    "path NUL": "v1\x00.json",
    "template": "{{7*7}}${7*7}<%= 7*7 %>",
    "jndi": "${jndi:ldap://127.0.0.1:1/a}",
    "script": "<script>alert(1)</script>",
    "format": "%s%s%n",
    "right to left": "\u202eTDSUCTB",
    "emoji": "\U0001f4a3" * 50,
    "unknown enum": "SIDEWAYS",
    "year 1": "0001-01-01T00:00:00+23:59",
    "year 9999": "9999-12-31T23:59:59-23:59",
    "year 10000": "10000-01-01T00:00:00Z",
    "no such day": "2026-02-30T00:00:00Z",
    "no such hour": "2026-01-01T25:61:61Z",
    "date alone": "2026-01-01",
}


def hostile(good: Mapping[str, Any]) -> list[Body]:
    """At least 200 bodies for a reader that expects `good`, none twice, the largest last."""
    bodies = [*_bytes(good), *_encodings(good), *_shapes(good), *_fields(good), *_huge(good)]
    unique = {body: name for name, body in reversed(bodies)}
    return [(name, body) for name, body in bodies if unique[body] == name]


def _bytes(good: Mapping[str, Any]) -> Iterator[Body]:
    whole = json.dumps(good).encode()
    yield "nothing", b""
    yield "blanks", b" \r\n\t "
    yield "NULs", b"\x00" * 100
    yield "every byte", bytes(range(256))
    yield "pickle", b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94."
    yield "gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + whole
    yield "xml", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
    for part in range(1, 8):
        yield f"{part}/8 of it", whole[: len(whole) * part // 8]
    yield "twice", whole + whole
    yield "something after it", whole + b"x"
    yield "trailing comma", whole[:-1] + b",}"
    yield "single quotes", whole.replace(b'"', b"'")
    yield "comment", whole[:-1] + b"/* */}"


def _encodings(good: Mapping[str, Any]) -> Iterator[Body]:
    text = json.dumps({**good, "note": "caf\xe9"}, ensure_ascii=False)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "utf-7", "latin-1"):
        yield encoding, text.encode(encoding)
    yield "overlong", text.replace("\xe9", "?").encode().replace(b"?", b"\xc0\xaf")
    yield "surrogates", text.replace("\xe9", "\ud800").encode("utf-8", "surrogatepass")
    for name in good:
        yield f"latin-1 in {name}", json.dumps({**good, name: "@"}).encode().replace(b"@", b"\xe9\xff")


def _shapes(good: Mapping[str, Any]) -> Iterator[Body]:
    for value in (None, True, 0, -1.5, "text", [], {}, [good], [[good]], {"body": good}):
        yield f"{json.dumps(value)[:20]} instead", json.dumps(value).encode()
    for token in ("NaN", "Infinity", "-Infinity", "1e400"):
        yield f"{token} instead", token.encode()
    yield "the object as text", json.dumps(json.dumps(good)).encode()
    yield "deep lists", b"[" * DEPTH + b"]" * DEPTH
    yield "deep objects", b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
    yield "deep without an end", b'{"a":[' * DEPTH
    yield "many keys", json.dumps({f"k{number}": number for number in range(50_000)}).encode()
    for name in good:
        without = {key: value for key, value in good.items() if key != name}
        yield f"without {name}", json.dumps(without).encode()
        yield f"{name} in capitals", json.dumps({**without, name.upper(): good[name]}).encode()
        first = json.dumps({name: {"first": 1}})[:-1]
        yield f"{name} twice", f"{json.dumps(good)[:-1]}, {first[1:]}}}".encode()


def _fields(good: Mapping[str, Any]) -> Iterator[Body]:
    for name in (*good, "unexpected"):
        for kind, value in _VALUES.items():
            yield f"{kind} as {name}", json.dumps({**good, name: value}).encode()
        for kind, raw in _RAW_VALUES.items():
            written = json.dumps({**good, name: "@"}).replace('"@"', raw)
            yield f"{kind} as {name}", written.encode()


def _huge(good: Mapping[str, Any]) -> Iterator[Body]:
    yield "5 MB of blanks", b" " * HUGE_BYTES
    yield "5 MB of digits", b"9" * HUGE_BYTES
    yield "5 MB in a field", json.dumps({**good, [*good, "unexpected"][0]: "x" * HUGE_BYTES}).encode()
