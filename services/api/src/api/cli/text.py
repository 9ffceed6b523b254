"""Values as people read them: times without fractions, numbers without noise, nothing that moves a cursor."""

import json
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime

NONE = "-"
"""What is not known."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def printable(text: str) -> str:
    """`text` in one line: what is no visible character is shown as `?`, so that nothing steers a terminal."""
    return "".join(
        " " if character in "\n\t" else "?" if unicodedata.category(character) in ("Cc", "Cf") else character
        for character in text
    )


def plain(value: object) -> str:
    """A JSON value as a cell of a table."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict | list):
        return _listed(value)
    text = str(value)
    return instant(text) or printable(text)


def instant(text: str) -> str | None:
    """A time of the API to the second, in UTC; None: `text` is none."""
    at = read_instant(text)
    return at.strftime("%Y-%m-%d %H:%M:%SZ") if at else None


def read_instant(text: str) -> datetime | None:
    """The time that `text` says with its offset; None: it says none."""
    if len(text) < len("2026-03-01T12:00:00Z") or text[4] != "-" or text[10] != "T":
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo else None


def span(seconds: float) -> str:
    """A time span in the two units that matter."""
    whole = max(round(seconds), 0)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return NONE if share is None else f"{share:.1%}"


def flattened(value: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested objects as one: their names joined by dots."""
    found: dict[str, object] = {}
    for name, each in value.items():
        if isinstance(each, dict) and each:
            found |= flattened(each, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = each
    return found


def _listed(value: dict[str, object] | list[object]) -> str:
    if isinstance(value, list) and not any(isinstance(each, dict | list) for each in value):
        return ", ".join(map(plain, value)) or NONE
    return printable(json.dumps(value, ensure_ascii=False))
