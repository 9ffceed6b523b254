"""Position updates that could not be used: kept whole, skipped, and made up for by asking."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from faststream.message import StreamMessage
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from common import tracing
from common.database import DATABASE_ERRORS
from common.errors import UNREADABLE, TryAgain, first_line
from common.messages import PositionUpdated
from common.tables import failed_position_updates

LONGEST_BODY = 1_000_000
"""Characters that are kept of a body."""
LONGEST_LEAD = timedelta(seconds=60)
"""An update from further ahead is a fault and no clock: believed, it would make every later one old."""

_ASSET = re.compile(rb'"asset"\s*:\s*"([A-Za-z0-9]{4,20})"')
_decoder = msgspec.json.Decoder(PositionUpdated)


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the queue: the update in it, or why there is none."""

    body: bytes
    update: PositionUpdated | None
    fault: str | None = None
    symbol: str | None = None
    """Whose position it was about, as far as that can be read."""


async def hear(message: StreamMessage[Any]) -> Heard:
    """The decoder of the subscriber: it never fails."""
    return read(message.body, datetime.now(UTC))


def read(body: bytes, now: datetime) -> Heard:
    """What a body says; an update needs asset, size and a timestamp that is not ahead of `now`."""
    try:
        update = _decoder.decode(body)
    except UNREADABLE as error:
        asset = _ASSET.search(body)
        symbol = asset[1].decode().upper() if asset else None
        return Heard(body=body, update=None, fault=f"{type(error).__name__}: {error}", symbol=symbol)
    if update.timestamp > now + LONGEST_LEAD:
        fault = f"its timestamp {update.timestamp.isoformat()} is ahead of the clock"
        return Heard(body=body, update=None, fault=fault, symbol=update.symbol)
    return Heard(body=body, update=update, symbol=update.symbol)


async def store(engine: AsyncEngine, heard: Heard, reason: str) -> None:
    """The message stands in failed_position_updates with what went wrong.

    Raises TryAgain while the database does not answer.
    """
    kept = heard.body.decode(errors="backslashreplace").replace("\x00", "\\x00")[:LONGEST_BODY]
    try:
        async with engine.begin() as connection:
            await connection.execute(
                insert(failed_position_updates).values(
                    symbol=heard.symbol, body=kept, reason=reason, trace_id=tracing.current()
                )
            )
    except DATABASE_ERRORS as error:
        raise TryAgain(f"database: {first_line(error)}") from error
