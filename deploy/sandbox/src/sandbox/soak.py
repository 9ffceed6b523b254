"""`make soak`: six strategies on five symbols under two replicas for minutes, then an audit of what they did.

What was sent is read off the wire by the broker's own trace, not from what the fleet says of itself; the
ledger, the orders and the logs are compared with it. Exit code 0: every promise was kept.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aio_pika
import asyncpg
import msgspec
from aio_pika.abc import AbstractIncomingMessage
from pydantic import PositiveFloat, PositiveInt
from rich.console import Console

from common import topology
from common.settings import EXIT_BAD_CONFIGURATION, load
from sandbox import paper_run
from sandbox.core import audit
from sandbox.core.audit import Delivery, Intent, Promises, Record
from sandbox.errors import SetupError
from sandbox.fleet import MAX_AGE_BARS, Shape, running_fleet
from sandbox.narration import Narrator
from sandbox.paper_run import PaperRun
from sandbox.platform import open_market
from sandbox.servers import FLOTILLA, Servers, private_servers
from sandbox.settings import MarketSettings

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT")
STRATEGIES = {
    "momentum": SYMBOLS[0],
    "reversal": SYMBOLS[1],
    "carry": SYMBOLS[2],
    "swing": SYMBOLS[3],
    "pulse": SYMBOLS[4],
    "shadow": SYMBOLS[0],
}
"""Who trades what: the last shares the first one's symbol."""
_TRACE = "amq.rabbitmq.trace"
_ORDER_MANAGER_PATIENCE_S = 3.0
_ERRORS_SHOWN = 10


class SoakSettings(MarketSettings):
    """How long, and how hard."""

    soak_minutes: PositiveFloat = 10.0
    """Length of the run."""
    soak_replicas: PositiveInt = 2
    """Inference workers that share the stream."""
    soak_warmup_signals_per_minute: PositiveFloat = 120.0
    """More than the rate limit lets through, so that it has something to hold back."""
    soak_rate_limit: PositiveFloat = 60.0
    """SIGNAL_GENERATION_RATE_LIMIT, per minute."""
    soak_burst: PositiveInt = 10
    """SIGNAL_GENERATION_BURST_ALLOWANCE."""


class _Tap:
    """What was heard: deliveries from the wire, errors and counts from the logs."""

    def __init__(self, narrator: Narrator) -> None:
        self.deliveries: list[Delivery] = []
        self.events: Counter[str] = Counter()
        self.errors: list[str] = []
        self._narrator = narrator

    def line(self, name: str, line: str) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            if "Traceback" in line:
                self.errors.append(f"{name}: {line}")
            return
        self.events[str(event.get("event"))] += 1
        if event.get("level") in ("error", "critical") or "exception" in event:
            self.errors.append(f"{name}: {line[:300]}")

    async def message(self, message: AbstractIncomingMessage) -> None:
        body = json.loads(message.body)
        self.deliveries.append(
            Delivery(
                signal_id=UUID(body["signal_id"]),
                strategy_id=body["strategy_id"],
                symbol=body["asset"],
                delivered_at=datetime.now(UTC),
            )
        )


def main() -> None:
    """Runs the soak; see the module."""
    settings = load(SoakSettings)
    narrator = Narrator(Console(highlight=False, soft_wrap=True))
    try:
        with private_servers(FLOTILLA / "soak", report=narrator.step) as servers:
            found = asyncio.run(_soak(settings, servers, narrator))
    except SetupError as error:
        sys.stderr.write(f"\n{error}\n")
        raise SystemExit(EXIT_BAD_CONFIGURATION) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    for fault in found[:_ERRORS_SHOWN]:
        sys.stderr.write(f"broken: {fault}\n")
    if len(found) > _ERRORS_SHOWN:
        sys.stderr.write(f"and {len(found) - _ERRORS_SHOWN} more\n")
    raise SystemExit(1 if found else 0)


async def _soak(settings: SoakSettings, servers: Servers, narrator: Narrator) -> list[str]:
    began = datetime.now(UTC)
    market_settings = settings.model_copy(update={"symbols": settings.symbols or SYMBOLS})
    market = open_market(market_settings)
    run = await paper_run.begin(servers, FLOTILLA / "soak" / "runs", began)
    await paper_run.prepare(run)
    tap = _Tap(narrator)
    strategies = _strategies_file(run)
    shape = Shape(
        strategies=tuple(STRATEGIES),
        inference_replicas=settings.soak_replicas,
        changes={
            "STRATEGIES_FILE": strategies,
            "SIGNAL_GENERATION_RATE_LIMIT": str(settings.soak_rate_limit),
            "SIGNAL_GENERATION_BURST_ALLOWANCE": str(settings.soak_burst),
        },
    )
    async with (
        _wiretap(servers, run, tap),
        running_fleet(
            market,
            market_settings,
            run,
            shape=shape,
            signals_per_minute=settings.soak_warmup_signals_per_minute,
            tell=tap.line,
            began=began,
        ) as fleet,
    ):
        narrator.step(f"{len(STRATEGIES)} strategies, {settings.soak_replicas} replicas of inference")
        await _watch(settings, tap, narrator)
        restarts = fleet.restarts()
        await asyncio.sleep(_ORDER_MANAGER_PATIENCE_S)
    record = await _record(run, tap, restarts)
    promises = Promises(
        max_age=timedelta(seconds=MAX_AGE_BARS * settings.sandbox_bar_seconds),
        signals_per_minute=settings.soak_rate_limit,
        burst=settings.soak_burst,
    )
    found = audit.faults(record, promises)
    sys.stdout.write(json.dumps(_summary(record, tap, found, began)) + "\n")
    return found


def _strategies_file(run: PaperRun) -> str:
    path = run.directory / "strategies.toml"
    path.write_text("".join(f'[{name}]\nsymbols = ["{symbol}"]\n\n' for name, symbol in STRATEGIES.items()))
    return str(path)


async def _watch(settings: SoakSettings, tap: _Tap, narrator: Narrator) -> None:
    until = time.monotonic() + settings.soak_minutes * 60
    while (left_s := until - time.monotonic()) > 0:
        await asyncio.sleep(min(30.0, left_s))
        narrator.step(
            f"{len(tap.deliveries)} signals delivered, {tap.events['version swapped']} versions swapped, "
            f"{len(tap.errors)} errors, {max(left_s - 30, 0):.0f} s left"
        )


@asynccontextmanager
async def _wiretap(servers: Servers, run: PaperRun, tap: _Tap) -> AsyncIterator[None]:
    assert servers.rabbitmq is not None
    await asyncio.to_thread(servers.rabbitmq.trace, run.strategy_id)
    connection = await aio_pika.connect(run.rabbitmq_url)
    try:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(_TRACE, routing_key=f"deliver.{topology.TRADING_SIGNALS.name}")
        await queue.consume(tap.message, no_ack=True)
        yield
    finally:
        await connection.close()


async def _record(run: PaperRun, tap: _Tap, restarts: int) -> Record:
    database = await asyncpg.connect(run.database_url)
    try:
        intents = await database.fetch(
            """
            SELECT signal_id, kind, strategy_id, symbol, state, reason, created_at, published_at, valid_until,
                   feature_timestamp,
                   EXISTS (SELECT FROM trading_signals t WHERE t.signal_id = o.signal_id) AS is_recorded
            FROM signal_outbox o
            """
        )
        slots = await database.fetchval(
            "SELECT count(*) FROM (SELECT FROM warmup_slots GROUP BY slot HAVING count(*) > 1) twice"
        )
        doubles = await database.fetch(
            "SELECT signal_id FROM orders WHERE status <> 'rejected' GROUP BY signal_id HAVING count(*) > 1"
        )
        refused = await database.fetchval(
            "SELECT count(*) FROM orders WHERE rejection_reason LIKE '%Insufficient balance%'"
        )
        collected = await database.fetchval("SELECT count(*) FROM dead_letters")
    finally:
        await database.close()
    return Record(
        deliveries=tap.deliveries,
        intents=[msgspec.convert(dict(row), Intent) for row in intents],
        slots_taken_twice=slots,
        double_orders=[row["signal_id"] for row in doubles],
        balance_rejections=refused,
        dead_letters=collected + await _still_dead(run),
        errors=tap.errors,
        restarts=restarts,
    )


async def _still_dead(run: PaperRun) -> int:
    connection = await aio_pika.connect(run.rabbitmq_url)
    try:
        channel = await connection.channel()
        queue = await channel.declare_queue(topology.DEAD_LETTERS.name, passive=True)
        return queue.declaration_result.message_count or 0
    finally:
        await connection.close()


def _summary(record: Record, tap: _Tap, found: list[str], began: datetime) -> dict[str, object]:
    by_state = Counter(f"{each.kind}_{each.state}" for each in record.intents)
    return {
        "seconds": round((datetime.now(UTC) - began).total_seconds()),
        "delivered": len(record.deliveries),
        "intents": dict(by_state),
        "by_strategy": dict(Counter(each.strategy_id for each in record.intents)),
        "versions_swapped": tap.events["version swapped"],
        "balance_rejections": record.balance_rejections,
        "faults": len(found),
    }


if __name__ == "__main__":
    main()
