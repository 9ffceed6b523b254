"""`make demo-exits`: every exit rule closes a position on paper, one strategy after its own way each.

Prices are made, nothing else is: entries are the warm-up's, orders fill at the market's price, and rules fire
on prices that the worker hears. What no market brings about an operator does, over the API or with a file: he
pauses a strategy that has its position, asks for one close, and loosens one stop while its position is open.
It ends with one line of JSON, the exits by strategy, and exit code 0; or with what did not fire, and 1.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import polars as pl
from pydantic import PositiveFloat
from rich.console import Console
from rich.markup import escape

from common.settings import load
from sandbox import exit_story, held_position, stage, story
from sandbox.core.swings import swinging
from sandbox.exit_cases import (
    AMOUNT_QUOTE,
    CASES,
    DECAYING_TARGET,
    KEPT_STOP,
    OPERATOR,
    Case,
    strategies_toml,
)
from sandbox.exit_story import Chapter
from sandbox.fleet import Fleet, Shape, running_fleet
from sandbox.market import Market
from sandbox.narration import Narrator
from sandbox.paper_run import PaperRun
from sandbox.platform import open_market
from sandbox.settings import MarketSettings
from sandbox.stage import ServerSettings

POLL_S = 0.25
CALM_BARS = 8_000
"""Bars of half a second before the start: more than the hour that a decaying target waits for."""
SWINGING_BARS = 2_000
"""A candle file leaves a fifth of itself to trade."""
HELD_FOR = timedelta(minutes=65)
"""Age of the position that the account holds from before."""
SIGNALS_PER_MINUTE = 120.0
ACTOR = "demo-exits"
# The story's own doing, told as such, and what is beside it.
_TOLD_OTHERWISE = ("signal skipped", "trading state set", "close requested")

_BY_NAME = {case.name: case for case in CASES}


class ExitsDemoSettings(ServerSettings):
    """The variant's own settings."""

    seed: int = 7
    """Seed of the market's noise."""
    demo_time_limit_seconds: PositiveFloat = 180.0
    """Give up after so long, counted from when the fleet is started, in seconds."""


def main() -> None:
    """Runs it; see the module."""
    settings = load(ExitsDemoSettings)
    narrator = Narrator(Console(highlight=False, soft_wrap=True))
    with stage.told_to_a_person():
        code = stage.play(settings, "demo-exits", narrator, lambda run: _tell(settings, run, narrator))
    raise SystemExit(code)


async def _tell(settings: ExitsDemoSettings, run: PaperRun, narrator: Narrator) -> int:
    stop = stage.stop_asked()
    market_settings = await asyncio.to_thread(_swinging_market, settings.seed, run.directory)
    market = open_market(market_settings)
    began = market.started_at
    strategies_file = run.directory / "strategies.toml"
    strategies_file.write_text(strategies_toml(CASES))
    async with asyncpg.create_pool(run.database_url, min_size=1, max_size=2) as database:
        await _hold_from_before(database, market)
        async with (
            running_fleet(
                market,
                market_settings,
                run,
                shape=_shape(market_settings, strategies_file),
                signals_per_minute=SIGNALS_PER_MINUTE,
                tell=lambda name, line: _hear(narrator, name, line),
                began=began,
            ) as fleet,
            stage.api_client(fleet) as api,
        ):
            narrator.step(f"console {fleet.addresses['api']}/console  (X-API-Key: {fleet.api_key})")
            director = _Director(fleet, api, narrator, strategies_file)
            return await _follow(settings, database, director, narrator, began=began, stop=stop)


async def _follow(
    settings: ExitsDemoSettings,
    database: asyncpg.Pool,
    director: "_Director",
    narrator: Narrator,
    *,
    began: datetime,
    stop: asyncio.Event,
) -> int:
    seen = began.replace(tzinfo=None)
    limit = timedelta(seconds=settings.demo_time_limit_seconds)
    while not stop.is_set():
        # Orders are read last: nothing fills before it was sent.
        chapter = await exit_story.told_so_far(database, began)
        director.narrate(chapter)
        for order in await story.order_results(database, seen):
            narrator.order(order, stage.wall_clock())
            seen = order.updated_at
        lacking = exit_story.missing(chapter, CASES)
        if not lacking:
            sys.stdout.write(json.dumps({case.name: len(chapter.exits_of(case)) for case in CASES}) + "\n")
            return 0
        if datetime.now(UTC) - began > limit:
            sys.stderr.write(f"not seen in {limit.total_seconds():.0f} s: {', '.join(lacking)}\n")
            return 1
        await director.act(chapter)
        await stage.pause(stop, POLL_S)
    narrator.step("stopping; nothing that was started stays")
    return 130


class _Director:
    """What an operator does in the story, and what is told of it."""

    def __init__(
        self, fleet: Fleet, api: httpx.AsyncClient, narrator: Narrator, strategies_file: Path
    ) -> None:
        self._fleet = fleet
        self._api = api
        self._narrator = narrator
        self._strategies_file = strategies_file
        self._paused: set[str] = set()
        self._told: set[object] = set()
        self._is_loosened = False
        self._is_close_asked = False

    async def act(self, chapter: Chapter) -> None:
        """Each strategy trades until it has its position; what else the cases need is done."""
        for case in CASES:
            if chapter.lacks_entry(case) == (case.name in self._paused):
                await self._let_trade(case, may_trade=case.name in self._paused)
        await self._ask_for_close(chapter)
        await self._loosen_stop(chapter)

    def narrate(self, chapter: Chapter) -> None:
        """Positions and exits are told, each once."""
        for held in chapter.positions:
            if held.strategy_id in _BY_NAME and self._is_news(held.lifecycle_id):
                case, age = _BY_NAME[held.strategy_id], held.known_since - held.opened_at
                since = f", held for {age.total_seconds() / 60:.0f} min" if age > timedelta(minutes=1) else ""
                self._say(
                    held.symbol,
                    f"{held.entry_price:,.6g}  [cyan]{held.side}[/cyan] of {held.strategy_id}{since}"
                    f" [dim]to be closed by {escape(case.shows)}[/dim]",
                )
        self._narrator.exits(chapter.exits, stage.wall_clock())
        for held in chapter.positions:
            if not held.is_open and self._is_news((held.lifecycle_id, "closed")):
                self._say(held.symbol, f"       [green]closed[/green] [dim]({held.strategy_id})[/dim]")

    async def _let_trade(self, case: Case, *, may_trade: bool) -> None:
        wish, reason = ("resume", "needs a position") if may_trade else ("pause", "has its position")
        if await self._asked(f"/api/v1/strategies/{case.name}/{wish}", reason):
            (self._paused.discard if may_trade else self._paused.add)(case.name)

    async def _ask_for_close(self, chapter: Chapter) -> None:
        held = chapter.position_of(_BY_NAME[OPERATOR])
        if held is None or not held.is_open or held.last_price is None or self._is_close_asked:
            return
        self._is_close_asked = await self._asked(f"/api/v1/positions/{held.symbol}/close", "shows how")
        if self._is_close_asked:
            self._say(held.symbol, "an operator asks for the close")

    # The worker reads its settings at its start: with the new ones it must still know the old stop.
    async def _loosen_stop(self, chapter: Chapter) -> None:
        held = chapter.position_of(_BY_NAME[KEPT_STOP])
        if held is None or not held.is_open or held.stop_price is None or self._is_loosened:
            return
        self._is_loosened = True
        self._say(held.symbol, "an operator loosens the stop and starts the exit worker anew")
        await self._fleet.stop("exit_strategy")
        self._strategies_file.write_text(strategies_toml(CASES, is_later=True))
        await self._fleet.start("exit_strategy")

    async def _asked(self, path: str, reason: str) -> bool:
        try:
            answer = await self._api.post(path, json={"reason": reason, "actor": ACTOR})
        except httpx.HTTPError:
            return False  # asked again with the next look
        return answer.is_success

    def _is_news(self, what: object) -> bool:
        is_news = what not in self._told
        self._told.add(what)
        return is_news

    def _say(self, who: str, text: str) -> None:
        self._narrator.happened(stage.wall_clock(), who, text)


def _hear(narrator: Narrator, name: str, line: str) -> None:
    if not any(f'"{phrase}"' in line for phrase in _TOLD_OTHERWISE):
        narrator.service_line(name, line, stage.wall_clock())


def _shape(market: MarketSettings, strategies_file: Path) -> Shape:
    return Shape(
        strategies=tuple(_BY_NAME),
        trains=False,
        changes={
            "STRATEGIES_FILE": str(strategies_file),
            "CANDLES": ",".join(market.candles),
            "SANDBOX_HISTORY_BARS": str(market.sandbox_history_bars),
            "WARMUP_MIN_AMOUNT": str(AMOUNT_QUOTE),
            "WARMUP_MAX_AMOUNT": str(AMOUNT_QUOTE),
            "SIGNAL_GENERATION_CHECK_OPPOSITE_ORDERS_ONLY": "false",
            # The ladder's second stage may follow its first one at once.
            "EXIT_COOLDOWN_SECONDS": "1",
        },
    )


def _swinging_market(seed: int, directory: Path) -> MarketSettings:
    files = []
    for place, case in enumerate(CASES):
        bars = swinging(
            seed,
            case.symbol,
            price=case.price,
            calm_bars=CALM_BARS,
            swinging_bars=SWINGING_BARS,
            place=place,
        )
        columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}
        file = directory / f"{case.symbol}.parquet"
        pl.DataFrame(columns).with_row_index("date").write_parquet(file)
        files.append(str(file))
    return MarketSettings(
        symbols=tuple(case.symbol for case in CASES),
        candles=tuple(files),
        sandbox_history_bars=CALM_BARS,
        sandbox_started_at=datetime.now(UTC),
    )


async def _hold_from_before(database: asyncpg.Pool, market: Market) -> None:
    case, at = _BY_NAME[DECAYING_TARGET], market.started_at - HELD_FOR
    price = market.price(case.symbol, at)
    if price is None:
        raise ValueError(f"the market of {case.symbol} begins after {at.isoformat()}")
    await held_position.bought(
        database, case.name, case.symbol, price=price, amount_quote=AMOUNT_QUOTE, at=at
    )


if __name__ == "__main__":
    main()
