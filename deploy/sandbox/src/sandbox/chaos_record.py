"""The record of a chaos run: what its checker reads, from the notes, the samples and the tables."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import httpx
import msgspec
from sqlalchemy import select

from common import tables, topology
from sandbox.chaos_notes import Notes
from sandbox.core.audit.record import (
    Letter,
    Lifecycle,
    Poison,
    Promises,
    Record,
    Redelivered,
    Signal,
    Span,
    StateChange,
    TrainingRun,
    Version,
)
from sandbox.fleet import MAX_AGE_BARS, Fleet
from sandbox.paper_run import PaperRun
from sandbox.samples import Samples, services_of
from sandbox.settings import MarketSettings
from sandbox.wiretap import Wiretap

COLLECTING_LIMIT_S = 20.0
"""How long the API may take to collect the last dead letters, in seconds."""

T = TypeVar("T", bound=msgspec.Struct)

_SIGNALS = """
SELECT signal_id, kind, strategy_id, symbol, side, amount_quote, payload, feature_timestamp, valid_until,
       state, reason, created_at, published_at,
       EXISTS (SELECT FROM trading_signals t WHERE t.signal_id = o.signal_id) AS is_recorded,
       (SELECT created_at AT TIME ZONE 'utc' FROM trading_signals t WHERE t.signal_id = o.signal_id)
           AS recorded_at,
       (SELECT count(*) FROM orders r WHERE r.signal_id = o.signal_id AND r.status <> 'rejected') AS orders,
       (SELECT coalesce(sum(filled_quantity), 0) FROM orders r WHERE r.signal_id = o.signal_id) AS filled
FROM signal_outbox o
"""
_LIFECYCLES = """
SELECT lifecycle_id, symbol, side, strategy_id, opened_at, created_at, closed_at, entry_price, size,
       stop_price, latched_rule, latched_at, peak_price
FROM position_lifecycles
"""
_STATE_CHANGES = "SELECT scope, state, actor, changed_at FROM trading_state_changes ORDER BY change_id"
_RUNS = "SELECT run_id, strategy_id, state, reason, version, finished_at FROM training_runs"
_VERSIONS = """
SELECT version, strategy_id, run_id, is_active, sha256,
       coalesce(evidence->>'files', '') IN ('deleting', 'deleted') AS is_retired
FROM model_versions
"""
_LOTS = "SELECT symbol, lot_size FROM instrument_info"
_SHOWN = (
    tables.alerts,
    tables.dead_letters,
    tables.failed_position_updates,
    tables.latest_outcomes,
    tables.operator_actions,
    tables.signal_outbox,
    tables.trading_signals,
    tables.trading_state_changes,
    tables.training_runs,
)
"""What the API shows."""
_LETTERS = """
SELECT queue, body, reason FROM dead_letters
UNION ALL
SELECT $1, convert_to(body, 'UTF8'), reason FROM failed_position_updates
"""


def secrets_of(run: PaperRun) -> list[str]:
    """The passwords of database and broker."""
    return [password for url in (run.database_url, run.rabbitmq_url) if (password := urlsplit(url).password)]


def promises_of(market: MarketSettings) -> Promises:
    """What a fleet in this market promises."""
    return Promises(max_age=timedelta(seconds=MAX_AGE_BARS * market.sandbox_bar_seconds))


async def until_letters_are_collected(run: PaperRun) -> int:
    """How many dead letters still lie in their queue: none, or what was left after COLLECTING_LIMIT_S."""
    connection = await aio_pika.connect(run.rabbitmq_url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(topology.DEAD_LETTERS.name, passive=True)
        deadline = asyncio.get_running_loop().time() + COLLECTING_LIMIT_S
        while True:
            left = (await queue.declare()).message_count or 0
            if not left or asyncio.get_running_loop().time() > deadline:
                return left
            await asyncio.sleep(0.25)


async def scan_public_pages(fleet: Fleet, notes: Notes) -> None:
    """Health and metrics of every service, which anybody may read, were looked through for secrets."""
    async with httpx.AsyncClient(follow_redirects=True) as client:
        for name in services_of(fleet):
            for path in ("/health", "/metrics"):
                with suppress(httpx.HTTPError):
                    notes.scan(f"{path} of {name}", (await client.get(f"{fleet.addresses[name]}{path}")).text)


async def scan_tables(database: asyncpg.Connection, notes: Notes) -> None:
    """Every row that the API shows was looked through for secrets."""
    for table in _SHOWN:
        for row in await database.fetch(str(select(table))):
            notes.scan(f"the table {table.name}", " ".join(map(_text, row)))


async def collect(
    run: PaperRun,
    tap: Wiretap,
    notes: Notes,
    samples: Samples,
    *,
    spans: Sequence[Span],
    poisons: Sequence[Poison],
    letters_left: int,
    redelivered: Sequence[Redelivered],
) -> Record:
    """Everything that the run left; it also stands in `record.json` of the run's directory."""
    database = await asyncpg.connect(run.database_url)
    try:
        await scan_tables(database, notes)
        versions = await database.fetch(_VERSIONS)
        letters = await database.fetch(_LETTERS, topology.POSITION_UPDATED.name)
        record = Record(
            began_at=notes.began,
            ended_at=datetime.now(UTC),
            wire=notes.wire,
            gaps=tap.gaps,
            faults=spans,
            healings=notes.healings,
            poisons=poisons,
            readiness=samples.readiness,
            told=samples.told,
            usage=samples.usage,
            signals=_structs(await database.fetch(_SIGNALS), Signal),
            lifecycles=_structs(await database.fetch(_LIFECYCLES), Lifecycle),
            state_changes=_structs(await database.fetch(_STATE_CHANGES), StateChange),
            runs=_structs(await database.fetch(_RUNS), TrainingRun),
            versions=[
                Version(**row, sha256_on_disk=_hash_on_disk(run.directory / "models", row["version"]))
                for row in map(dict, versions)
            ],
            letters=_structs(letters, Letter),
            letters_left=letters_left,
            leaks=notes.leaks,
            errors=notes.errors,
            redelivered=redelivered,
            lots={row["symbol"]: row["lot_size"] for row in await database.fetch(_LOTS)},
        )
    finally:
        await database.close()
    (run.directory / "record.json").write_bytes(msgspec.json.encode(record))
    return record


def _structs(rows: Sequence[asyncpg.Record], kind: type[T]) -> list[T]:
    return [msgspec.convert(dict(row), kind) for row in rows]


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _hash_on_disk(models: Path, version: str) -> str | None:
    manifest = models / version / "manifest.json"
    return hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.exists() else None
