"""Files of NAME=value lines, as compose reads them: comments, quotes, the last line of a name counts."""

import re
from pathlib import Path

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_QUOTED = re.compile(r"""(["'])(.*)\1\s*(?:#.*)?""")


class NotAnEnvironmentFile(ValueError):
    """The file cannot be read, or a line of it says no NAME=value; the message names file and line."""


def read(path: Path) -> dict[str, str]:
    """The variables of the file at `path`. Raises NotAnEnvironmentFile."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "no UTF-8 text"
        raise NotAnEnvironmentFile(f"{path} cannot be read: {reason}") from error
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        said = line.strip()
        if not said or said.startswith("#"):
            continue
        parts = _LINE.fullmatch(said)
        if parts is None:
            raise NotAnEnvironmentFile(f"{path}, line {number}, is no NAME=value")
        found[parts[1]] = _value(parts[2])
    return found


def _value(said: str) -> str:
    if quoted := _QUOTED.fullmatch(said):
        return quoted[2]
    return re.sub(r"(^|\s+)#.*$", "", said).strip()
