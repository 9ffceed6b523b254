"""`make demo`: the whole fleet on paper, from nothing, and what it does in plain words.

With ONCE=1 it ends at the acceptance point: one line of JSON last, exit code 0; or what was missing, and 1.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import httpx
import msgspec
from pydantic import Field, PositiveFloat
from rich.console import Console

from common.settings import load
from sandbox import stage, story
from sandbox.core.market import edge_report
from sandbox.fleet import Shape, running_fleet
from sandbox.market import Market
from sandbox.narration import Narrator
from sandbox.paper_run import PaperRun
from sandbox.platform import open_market
from sandbox.settings import MarketSettings
from sandbox.stage import ServerSettings
from sandbox.story import Chapter

POLL_S = 0.5


class DemoSettings(ServerSettings, MarketSettings):
    """The demo's own settings, beside the market's."""

    once: bool = False
    """End at the acceptance point."""
    demo_time_limit_seconds: PositiveFloat = 360.0
    """With ONCE: give up after so long, in seconds."""
    demo_signals_per_minute: Annotated[float, Field(gt=0)] = 30.0
    """Warm-up signals per minute over the fleet; beside real money the default is 1."""


class Progress:
    """How far a running demo has come."""

    def __init__(self) -> None:
        self.began = datetime.now(UTC)
        self.events: Counter[str] = Counter()
        self.chapter: Chapter | None = None
        self._started = time.monotonic()
        self._first_signal_s: float | None = None

    def seconds(self) -> float:
        """Since the demo was called."""
        return time.monotonic() - self._started

    def turn_page(self, chapter: Chapter) -> None:
        """`chapter` is what happened so far."""
        self.chapter = chapter
        if chapter.warmup_signals and self._first_signal_s is None:
            self._first_signal_s = self.seconds()

    def result(self) -> str:
        """The whole story as one line of JSON."""
        told = {
            **msgspec.to_builtins(self.chapter),
            "seconds_to_first_signal": self._first_signal_s and round(self._first_signal_s, 1),
            "seconds_total": round(self.seconds(), 1),
        }
        return json.dumps(told)


def main() -> None:
    """Runs the demo; see the module."""
    progress = Progress()
    settings = load(DemoSettings)
    console = Console(highlight=False, soft_wrap=True)
    narrator = Narrator(console)
    with stage.told_to_a_person():
        # Opened before anything starts: a file that cannot be read should cost nobody a minute.
        market = open_market(settings)
        _announce(settings, market, narrator)
        code = stage.play(
            settings, "demo", narrator, lambda run: _tell(settings, market, run, narrator, progress)
        )
    raise SystemExit(code)


def _announce(settings: DemoSettings, market: Market, narrator: Narrator) -> None:
    if settings.candles:
        narrator.step(f"replaying {', '.join(settings.candles)} as {', '.join(market.symbols)}")
    else:
        truth = edge_report(settings.sandbox_edge)
        narrator.step(
            f"synthetic market, seed {settings.seed}: whoever knew the truth would beat the majority class "
            f"({truth.majority_rate:.3f}) by {truth.lift:.3f}"
        )
    narrator.step("promotion policy: honest (lift, sense of direction, not worse than the champion)")


async def _tell(
    settings: DemoSettings, market: Market, run: PaperRun, narrator: Narrator, progress: Progress
) -> int:
    stop = stage.stop_asked()

    def tell(name: str, line: str) -> None:
        if event := narrator.service_line(name, line, stage.wall_clock()):
            progress.events[event] += 1

    progress.began = datetime.now(UTC)
    async with (
        asyncpg.create_pool(run.database_url, min_size=1, max_size=2) as database,
        running_fleet(
            market,
            settings,
            run,
            shape=Shape(strategies=(run.strategy_id,)),
            signals_per_minute=settings.demo_signals_per_minute,
            tell=tell,
            began=progress.began,
        ) as fleet,
        stage.api_client(fleet) as api,
    ):
        narrator.step(f"console {fleet.addresses['api']}/console")
        narrator.step(f"API {fleet.addresses['api']}/api/v1/models  (X-API-Key: {fleet.api_key})")
        narrator.step(f"Feature Service {fleet.addresses['sandbox']}  (X-API-Key: {fleet.neighbours_key})")
        narrator.step("  ".join(f"{name} {url}/health" for name, url in fleet.addresses.items()))
        return await _follow(settings, database, api, narrator, progress, stop=stop)


async def _follow(
    settings: DemoSettings,
    database: asyncpg.Pool,
    api: httpx.AsyncClient,
    narrator: Narrator,
    progress: Progress,
    *,
    stop: asyncio.Event,
) -> int:
    seen = progress.began.replace(tzinfo=None)
    while not stop.is_set():
        seen = await _tell_orders(database, narrator, seen)
        lacking = await _lacking(settings, database, api, narrator, progress)
        narrator.exits(await story.exits_sent(database, progress.began), stage.wall_clock())
        if settings.once and not lacking:
            sys.stdout.write(progress.result() + "\n")
            return 0
        if settings.once and progress.seconds() > settings.demo_time_limit_seconds:
            limit_s = settings.demo_time_limit_seconds
            sys.stderr.write(f"the demo did not see in {limit_s:.0f} s: {', '.join(lacking)}\n")
            return 1
        await stage.pause(stop, POLL_S)
    narrator.step("stopping; nothing that was started stays")
    return 130


async def _lacking(
    settings: DemoSettings,
    database: asyncpg.Pool,
    api: httpx.AsyncClient,
    narrator: Narrator,
    progress: Progress,
) -> list[str]:
    # A worker that was restarted in between loads at its start what it would have swapped to.
    hot_reloads = progress.events["version swapped"] + progress.events["version loaded"]
    try:
        chapter = await story.told_so_far(database, api, progress.began, hot_reloads)
    except httpx.HTTPError:
        return ["an answer of the API"]
    narrator.verdicts(chapter.versions, stage.wall_clock())
    progress.turn_page(chapter)
    return story.missing(chapter, promotion_owed=not settings.candles)


async def _tell_orders(database: asyncpg.Pool, narrator: Narrator, seen: datetime) -> datetime:
    results = await story.order_results(database, seen)
    for result in results:
        narrator.order(result, stage.wall_clock())
    return results[-1].updated_at if results else seen


if __name__ == "__main__":
    main()
