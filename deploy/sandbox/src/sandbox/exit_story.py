"""What became of each way out: entries, the positions they opened, and the exits that were sent for them.

All of it is read from the database, where whoever asks later finds the same.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import asyncpg
import msgspec

from sandbox.exit_cases import Case
from sandbox.story import ExitSent, exits_sent


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The newest entry of a strategy."""

    strategy_id: str
    sent_at: datetime
    """Aware."""
    came_to_nothing: bool
    """Its order was rejected, or cancelled with nothing filled, or never came."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A position that an exit worker watches or watched."""

    lifecycle_id: UUID
    strategy_id: str
    symbol: str
    side: str
    size: Decimal
    entry_price: Decimal
    opened_at: datetime
    known_since: datetime
    stop_price: Decimal | None
    last_price: Decimal | None
    is_open: bool


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """What happened since the story began."""

    entries: dict[str, Entry]
    """By strategy."""
    positions: list[Held]
    """The oldest first."""
    exits: list[ExitSent]

    def position_of(self, case: Case) -> Held | None:
        """The newest position of the case."""
        return next((each for each in reversed(self.positions) if each.strategy_id == case.name), None)

    def exits_of(self, case: Case) -> list[ExitSent]:
        """The exits of the case's positions by the case's rule."""
        return [each for each in self.exits if (each.strategy_id, each.rule) == (case.name, case.rule)]

    def has_fired(self, case: Case) -> bool:
        """Whether the case's rule was set off, each of its stages."""
        return len({each.stage for each in self.exits_of(case)}) >= case.stages

    def lacks_entry(self, case: Case) -> bool:
        """Whether the case needs a position: none was opened, or it ended in another way than the case's."""
        if self.has_fired(case):
            return False
        entry, position = self.entries.get(case.name), self.position_of(case)
        if position is not None and position.is_open:
            return False
        has_ended = entry is not None and position is not None and position.known_since > entry.sent_at
        return entry is None or entry.came_to_nothing or has_ended


def missing(chapter: Chapter, cases: Sequence[Case]) -> list[str]:
    """What the story still lacks, in words; empty once every case fired and closed its position."""
    found = []
    for case in cases:
        position = chapter.position_of(case)
        if not chapter.has_fired(case):
            found.append(f"{case.name} (to be closed by {case.shows})")
        elif position is not None and position.is_open:
            found.append(f"the end of the position of {case.name}")
    return found


async def told_so_far(database: asyncpg.Pool, since: datetime) -> Chapter:
    """What happened since `since` (aware)."""
    entries = await database.fetch(_ENTRIES, since.replace(tzinfo=None))
    positions = await database.fetch(_POSITIONS, since)
    return Chapter(
        entries={row["strategy_id"]: Entry(**row) for row in entries},
        positions=[Held(**row) for row in positions],
        exits=await exits_sent(database, since),
    )


_ENTRIES = """
SELECT DISTINCT ON (s.strategy_id) s.strategy_id, s.timestamp AT TIME ZONE 'utc' AS sent_at,
       coalesce((SELECT bool_and(o.status IN ('rejected', 'cancelled') AND o.filled_quantity = 0)
                 FROM orders o WHERE o.signal_id = s.signal_id),
                s.timestamp < (now() AT TIME ZONE 'utc') - interval '10 seconds') AS came_to_nothing
FROM trading_signals s
WHERE s.timestamp >= $1 AND s.metadata->>'rule_triggered' IS NULL
ORDER BY s.strategy_id, s.timestamp DESC
"""

_POSITIONS = """
SELECT lifecycle_id, strategy_id, symbol, side, size, entry_price, opened_at, created_at AS known_since,
       stop_price, last_price, closed_at IS NULL AS is_open
FROM position_lifecycles WHERE created_at >= $1 ORDER BY created_at
"""
