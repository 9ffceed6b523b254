"""Exits that were sent while the database was down, on disk until it can store them.

JSON lines in one file, which workers of one machine may share. An exit is written before it is published and
its confirm after; what was stored is taken out again. A full or unwritable spool never holds an exit back:
what it cannot take, the process remembers until it can be stored.
"""

import asyncio
import fcntl
import os
from collections import deque
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
from exit_strategy.metrics import UNWRITTEN_LINES

log = structlog.get_logger(__name__)

MAX_BYTES = 4_000_000
"""What the file holds at most: some thousand exits."""
MAX_UNWRITTEN = 2_000
"""Lines that a process remembers where the file cannot take them; beyond that the oldest are forgotten."""


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
    rule: str = "stop_loss"
    body: str
    """The exact JSON that was published."""


class Confirmed(msgspec.Struct, frozen=True, kw_only=True, tag="confirmed"):
    """The broker holds the signal."""

    signal_id: UUID


Line = SpooledExit | Confirmed


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a spool held at one moment."""

    lines: Sequence[Line]
    written: bytes
    """The file, to its last byte."""
    unwritten: Sequence[Line]
    """Those of the lines that only this process remembers."""
    appended: int
    """How many lines this process had appended by then, ever."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


class Spool:
    """The file at `path`, which need not exist yet; its directory is made when it is first written.

    Beside it the lines that the file could not take.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, max_unwritten: int = MAX_UNWRITTEN) -> None:
        self._path = path
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._max_bytes = max_bytes
        self._unwritten: deque[Line] = deque(maxlen=max_unwritten)
        self._appended = self._taken = 0

    @property
    def has_news(self) -> bool:
        """Whether this process appended something that was not taken out yet."""
        return self._appended > self._taken

    @property
    def unwritten(self) -> int:
        """Lines that no crash may take: the file could not take them."""
        return len(self._unwritten)

    async def append(self, line: Line) -> bool:
        """`line` survives a crash from now on; False, and logged, where only this process remembers it."""
        self._appended += 1
        try:
            await asyncio.to_thread(self._append, _encoder.encode(line) + b"\n")
        except OSError as error:
            self._unwritten.append(line)
            UNWRITTEN_LINES.set(self.unwritten)
            log.warning(Event.SPOOL_NOT_WRITTEN, path=str(self._path), reason=str(error))
            return False
        return True

    async def read(self) -> Held:
        """All that is held; a line that a crash cut short is left out, as is a file that cannot be read."""
        appended = self._appended
        try:
            written = await asyncio.to_thread(self._read)
        except OSError as error:
            log.warning(Event.SPOOL_NOT_READ, path=str(self._path), reason=str(error))
            written = b""
        unwritten = tuple(self._unwritten)
        lines = [line for line in map(_parsed, written.splitlines()) if line is not None]
        return Held(lines=[*lines, *unwritten], written=written, unwritten=unwritten, appended=appended)

    async def take_out(self, held: Held) -> None:
        """Nothing of `held`, which `read` gave, is held any more; what was appended since stays.

        Where the file cannot be changed it keeps them: to store them again changes nothing.
        """
        self._taken = held.appended
        for line in held.unwritten:
            self._unwritten.remove(line)
        UNWRITTEN_LINES.set(self.unwritten)
        try:
            await asyncio.to_thread(self._take_out, held.written)
        except OSError as error:
            log.warning(Event.SPOOL_NOT_WRITTEN, path=str(self._path), reason=str(error))

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
        if not held:
            return
        with self._locked():
            now = self._read()
            if not now.startswith(held):
                return  # another worker took it out
            if now == held:
                self._path.unlink()  # needs no place on a disk that is full
                return
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
