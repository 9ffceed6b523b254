"""`make chaos`: a whole fleet trades on paper while it is struck by seeded faults; then a checker judges it.

Faults come in phases and overlap; after each phase everything heals, and all services have to be ready within
half a minute. What crossed the wire is read off the broker's own trace. It ends with one line of JSON; exit
code 0: every promise was kept. The same CHAOS_SEED plans the same faults.
"""

import asyncio
import json
import logging
import secrets
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import asyncpg
from pydantic import NonNegativeInt, PositiveFloat
from rich.console import Console

from common.settings import SettingsGroup, load
from sandbox import chaos_record, chaos_stage, faults, paper_run, redeliveries, stage
from sandbox.bystander import Bystander
from sandbox.chaos_notes import Notes
from sandbox.chaos_summary import summary
from sandbox.core.audit import chaos as checker
from sandbox.fault_plan import Pace, Planner
from sandbox.faults import Ground
from sandbox.fleet import Fleet, running_fleet
from sandbox.narration import Narrator
from sandbox.platform import open_market
from sandbox.samples import Samples, services_of
from sandbox.servers import FLOTILLA, Servers, private_servers
from sandbox.striking import Striker
from sandbox.wiretap import EVERYTHING_SENT, tapped

READY_LIMIT_S = 120.0
"""Longest wait for all services; what was promised is less, and judged by the checker."""
_TAPPED = (
    EVERYTHING_SENT,
    "deliver.model-service.trading_signals",
    *(f"deliver.{queue}" for queue in sorted(redeliveries.CONSUMED)),
)
_SHOWN = 40
_ORDER_MANAGER_PATIENCE_S = 3.0


class ChaosSettings(SettingsGroup):
    """How long, how hard, and which faults."""

    chaos_minutes: PositiveFloat = 10.0
    """Length of the run after the fleet is ready."""
    chaos_seed: NonNegativeInt | None = None
    """Seed of faults and market; empty: a new one, which is printed."""
    chaos_phase_seconds: PositiveFloat = 45.0
    """Length of a phase of faults."""
    chaos_pause_seconds: PositiveFloat = 3.0
    """From one fault to the next, on average."""
    chaos_longest_freeze_seconds: PositiveFloat = 20.0
    """Longest time that a process is frozen."""
    chaos_calm_seconds: PositiveFloat = 12.0
    """Between two phases, so that replicas can be seen to agree."""
    chaos_home: Path = FLOTILLA / "chaos"
    """Directory of its servers, models and records."""


def main() -> None:
    """Runs it; see the module."""
    settings = load(ChaosSettings)
    for chatty in ("aio_pika", "aiormq"):  # what is done to the broker is told already
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    seed = secrets.randbelow(1_000_000) if settings.chaos_seed is None else settings.chaos_seed
    narrator = Narrator(Console(highlight=False, soft_wrap=True))
    narrator.step(
        f"to repeat this run: make chaos CHAOS_SEED={seed} CHAOS_MINUTES={settings.chaos_minutes:g}"
    )
    with (
        stage.told_to_a_person(),
        private_servers(settings.chaos_home, report=narrator.step) as servers,
    ):
        violations = asyncio.run(_chaos(settings, seed, servers, narrator))
    for violation in violations[:_SHOWN]:
        sys.stderr.write(f"broken: {violation}\n")
    if len(violations) > _SHOWN:
        sys.stderr.write(f"and {len(violations) - _SHOWN} more\n")
    raise SystemExit(1 if violations else 0)


async def _chaos(settings: ChaosSettings, seed: int, servers: Servers, narrator: Narrator) -> list[str]:
    began = datetime.now(UTC)
    run = await paper_run.begin(servers, settings.chaos_home / "runs", began)
    await paper_run.prepare(run)
    market_settings = chaos_stage.market_settings(seed, began)
    notes = Notes(narrator, began, secrets=chaos_record.secrets_of(run))
    counted = redeliveries.Redeliveries(notes.heard)
    async with (
        tapped(servers, run.strategy_id, run.rabbitmq_url, counted.heard, _TAPPED) as tap,
        running_fleet(
            open_market(market_settings),
            market_settings,
            run,
            shape=chaos_stage.shape(run, market_settings),
            signals_per_minute=chaos_stage.WARMUP_SIGNALS_PER_MINUTE,
            tell=notes.line,
            began=began,
        ) as fleet,
        stage.api_client(fleet) as api,
        asyncpg.create_pool(run.database_url, min_size=0, max_size=3, timeout=2, command_timeout=2) as pool,
    ):
        notes.secrets.append(fleet.api_key)
        ground = Ground(
            fleet=fleet,
            servers=servers,
            api=api,
            amqp_url=run.rabbitmq_url,
            database_url=run.database_url,
            poisons=[],
        )
        samples, striker = Samples(fleet), Striker(ground, notes.step)
        async with _beside(samples.watch(pool)):
            await _until_ready(samples, datetime.now(UTC), notes)
            bystander = Bystander(api, pool, tuple(chaos_stage.STRATEGIES), Random(seed))
            async with _beside(bystander.run()):
                await _strike(_planner(settings, seed, fleet), settings, striker, samples, notes)
            notes.step("waiting for trainings to end")
            await bystander.until_no_training()
        await chaos_record.scan_public_pages(fleet, notes)
        letters_left = await chaos_record.until_letters_are_collected(run)
        await asyncio.gather(*map(fleet.stop, services_of(fleet)))
        await asyncio.sleep(_ORDER_MANAGER_PATIENCE_S)
        record = await chaos_record.collect(
            run,
            tap,
            notes,
            samples,
            spans=striker.spans,
            poisons=ground.poisons,
            letters_left=letters_left,
            redelivered=counted.counted(),
        )
    violations = checker.violations(record, chaos_record.promises_of(market_settings))
    sys.stdout.write(json.dumps(summary(record, seed, violations)) + "\n")
    return violations


def _planner(settings: ChaosSettings, seed: int, fleet: Fleet) -> Planner:
    pause_s = settings.chaos_pause_seconds
    pace = Pace(phase_s=_phase_s(settings), pauses_s=(pause_s * 0.5, pause_s * 1.5))
    kinds = faults.kinds(
        tuple(fleet.addresses),
        tuple(chaos_stage.STRATEGIES),
        longest_freeze_s=settings.chaos_longest_freeze_seconds,
    )
    return Planner(Random(seed), kinds, pace)


def _phase_s(settings: ChaosSettings) -> float:
    return min(settings.chaos_phase_seconds, settings.chaos_minutes * 60)


async def _strike(
    planner: Planner, settings: ChaosSettings, striker: Striker, samples: Samples, notes: Notes
) -> None:
    until = time.monotonic() + settings.chaos_minutes * 60
    while True:
        healed_at = await striker.phase(planner.phase())
        await _until_ready(samples, healed_at, notes)
        await asyncio.sleep(settings.chaos_calm_seconds)
        if time.monotonic() + _phase_s(settings) > until:
            return


async def _until_ready(samples: Samples, since: datetime, notes: Notes) -> None:
    deadline = time.monotonic() + READY_LIMIT_S
    while (ready_at := samples.all_ready_since(since)) is None and time.monotonic() < deadline:
        await samples.next()
    notes.healings.append((since, ready_at))
    if ready_at is None:
        notes.step(f"not ready after {READY_LIMIT_S:.0f} s: {', '.join(samples.not_ready())}")
    else:
        notes.step(f"all ready {(ready_at - since).total_seconds():.1f} s after everything was healed")


@asynccontextmanager
async def _beside(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


if __name__ == "__main__":
    main()
