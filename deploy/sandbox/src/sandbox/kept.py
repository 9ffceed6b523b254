"""What a private server keeps between runs: its ports and its secret, in a file only the owner reads."""

import os
import secrets
from pathlib import Path

import msgspec

from sandbox.errors import SetupError


class Kept(msgspec.Struct, kw_only=True):
    """A server's ports by purpose and its random password."""

    password: str
    ports: dict[str, int] = {}


def load(path: Path) -> Kept:
    """What was kept in `path`; a new password if nothing was."""
    if not path.exists():
        return Kept(password=secrets.token_hex(16))
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except msgspec.DecodeError as broken:
        raise SetupError(f"{path} is damaged ({broken}): remove {path.parent} to start anew") from broken


def save(kept: Kept, path: Path) -> None:
    """`path` holds it, readable by its owner alone (mode 0600)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(kept))
    fresh.replace(path)
