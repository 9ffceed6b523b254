"""Exits that were sent while the database was down, on disk until it can store them.

JSON lines in one file, which workers of one machine may share. An exit is written before it is published and
its confirm after; what was stored is taken out again. A full or unwritable spool never holds an exit back.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import msgspec
import structlog

from common.core.exits.position import Side
from exit_strategy.events import Event

log = structlog.get_logger(__name__)

MAX_BYTES = 4_000_000
"""What the file holds at most: some thousand exits."""


class SpooledExit(msgspec.Struct, frozen=True, kw_only=True, tag="exit"):
    """An exit signal and the position that it closes."""

    signal_id: UUID
    symbol: str
    side: Side
    entry_price: Decimal
    """Quote currency."""
    decided_at: datetime
    valid_until: datetime
    trace_id: str
    body: str
    """The exact JSON that was published."""


class Confirmed(msgspec.Struct, frozen=True, kw_only=True, tag="confirmed"):
    """The broker holds the signal."""

    signal_id: UUID


Line = SpooledExit | Confirmed

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


class Spool:
    """The file at `path`, which need not exist yet; its directory is made when it is first written."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._max_bytes = max_bytes

    async def append(self, line: Line) -> bool:
        """`line` survives a crash from now on; False, and logged, where it could not be written."""
        try:
            await asyncio.to_thread(self._append, _encoder.encode(line) + b"\n")
        except OSError as error:
            log.warning(Event.SPOOL_NOT_WRITTEN, path=str(self._path), reason=str(error))
            return False
        return True

    async def read(self) -> tuple[bytes, Sequence[Line]]:
        """What the file holds, as bytes and as lines; a line that a crash cut short is left out.

        Raises OSError where it cannot be read.
        """
        held = await asyncio.to_thread(self._read)
        return held, [line for line in map(_parsed, held.splitlines()) if line is not None]

    async def take_out(self, held: bytes) -> None:
        """The file no longer holds `held`, which `read` gave; what was appended since stays."""
        await asyncio.to_thread(self._take_out, held)

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(), self._path.open("ab") as file:
            if file.tell() + len(line) > self._max_bytes:
                raise OSError(f"it holds {file.tell()} bytes, at most {self._max_bytes} are allowed")
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> bytes:
        return self._path.read_bytes() if self._path.exists() else b""

    def _take_out(self, held: bytes) -> None:
        with self._locked():
            now = self._read()
            if not now.startswith(held):
                return  # another worker took it out
            rest = self._path.with_name(f"{self._path.name}.rest")
            with rest.open("wb") as file:
                file.write(now[len(held) :])
                file.flush()
                os.fsync(file.fileno())
            rest.replace(self._path)

    # Not on the file itself: it is replaced while others wait for it.
    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock_path.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _parsed(line: bytes) -> Line | None:
    try:
        parsed: Line = _decoder.decode(line)
    except msgspec.DecodeError as error:
        log.warning(Event.SPOOL_LINE_UNREADABLE, reason=str(error), length=len(line))
        return None
    return parsed
