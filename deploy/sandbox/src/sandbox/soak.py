"""`make soak`: six strategies on five symbols under two replicas for half an hour, then an audit of it all.

What was sent is read off the wire by the broker's own trace, not from what the fleet says of itself; the
ledger, the orders and the logs are compared with it, and what each process held with what it held before.
Exit code 0: every promise was kept.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aio_pika
import asyncpg
import httpx
import msgspec
from pydantic import PositiveFloat, PositiveInt
from rich.console import Console

from common import topology
from common.settings import EXIT_BAD_CONFIGURATION, load
from sandbox import paper_run
from sandbox.core import audit
from sandbox.core.audit import Delivery, Intent, Promises, Record, growth
from sandbox.core.audit.growth import Usage
from sandbox.core.audit.record import Heard
from sandbox.errors import SetupError
from sandbox.fleet import MAX_AGE_BARS, Fleet, Shape, running_fleet
from sandbox.narration import Narrator
from sandbox.paper_run import PaperRun
from sandbox.platform import open_market
from sandbox.samples import watch_usage
from sandbox.servers import FLOTILLA, Servers, private_servers
from sandbox.settings import MarketSettings
from sandbox.wiretap import tapped

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
_WARM_UP_SHARE = 1 / 3
"""Of the run, in which a process may still grow."""
_DELIVERED = f"deliver.{topology.TRADING_SIGNALS.name}"
_ORDER_MANAGER_PATIENCE_S = 3.0
_ERRORS_SHOWN = 10


class SoakSettings(MarketSettings):
    """How long, and how hard."""

    soak_minutes: PositiveFloat = 30.0
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

    def message(self, message: Heard) -> None:
        body = json.loads(message.body)
        self.deliveries.append(
            Delivery(
                signal_id=UUID(body["signal_id"]),
                strategy_id=body["strategy_id"],
                symbol=body["asset"],
                delivered_at=message.at,
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
        tapped(servers, run.strategy_id, run.rabbitmq_url, tap.message, (_DELIVERED,)),
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
        usage = await _watch(settings, fleet, tap, narrator)
        restarts = fleet.restarts()
        await asyncio.sleep(_ORDER_MANAGER_PATIENCE_S)
    record = await _record(run, tap, restarts)
    promises = Promises(
        max_age=timedelta(seconds=MAX_AGE_BARS * settings.sandbox_bar_seconds),
        signals_per_minute=settings.soak_rate_limit,
        burst=settings.soak_burst,
    )
    warm_up = timedelta(minutes=settings.soak_minutes * _WARM_UP_SHARE)
    found = [*audit.faults(record, promises), *growth.leaks(usage, warm_up=warm_up)]
    grown = growth.growths(usage, warm_up=warm_up)
    sys.stdout.write(json.dumps({**_summary(record, tap, found, began), "growth": _shown(grown)}) + "\n")
    return found


def _strategies_file(run: PaperRun) -> str:
    path = run.directory / "strategies.toml"
    path.write_text("".join(f'[{name}]\nsymbols = ["{symbol}"]\n\n' for name, symbol in STRATEGIES.items()))
    return str(path)


async def _watch(settings: SoakSettings, fleet: Fleet, tap: _Tap, narrator: Narrator) -> list[Usage]:
    until = time.monotonic() + settings.soak_minutes * 60
    usage: list[Usage] = []
    async with httpx.AsyncClient() as client:
        watching = asyncio.create_task(watch_usage(fleet, client, usage))
        while (left_s := until - time.monotonic()) > 0:
            await asyncio.sleep(min(30.0, left_s))
            narrator.step(
                f"{len(tap.deliveries)} signals delivered, {tap.events['version swapped']} versions swapped, "
                f"{len(tap.errors)} errors, {max(left_s - 30, 0):.0f} s left"
            )
        watching.cancel()
        await asyncio.wait([watching])
    return usage


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


def _shown(grown: list[growth.Growth]) -> dict[str, object]:
    return {
        each.process: {
            "mib_per_10_minutes": round(each.rss_mib_per_10_minutes, 2),
            "descriptors": each.descriptors,
            "tasks": each.tasks,
        }
        for each in grown
    }


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
