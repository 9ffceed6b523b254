"""The demo's fleet: which processes run, on which ports, with which settings.

A bar is short here, so everything that an operator would state in days and percent is stated in bars: the
periods of a dataset, the horizon, the exits.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from secrets import token_hex

import msgspec
import numpy as np

from sandbox.core.market import DEFAULT_HORIZON_BARS, Floats, edge_report
from sandbox.market import Market
from sandbox.paper_run import PaperRun
from sandbox.ports import free_port
from sandbox.servers import FLOTILLA
from sandbox.settings import PARTS, MarketSettings
from sandbox.supervisor import Backoff, Supervisor

NEIGHBOURS_LIMIT_S = 20.0
"""Longest wait for the neighbours before the services are started all the same."""
MAX_AGE_BARS = 20
TEST_SHARE = 0.2
"""Of the history; validation gets as much, train the rest."""
UNUSED_SHARE = 0.02
"""Of the history, left before train: what is asked for must exist."""
EXIT_SIGMAS = 4.0
"""Stop loss and take profit, in standard deviations of the return over a horizon."""
FLAT_SHARE = 1 / 3
"""Share of moves over the horizon that count as no move, where the market has no known threshold."""
TRADE_SHARE = 0.3
"""Of the validation rows, what a threshold must at least let act: a demo is watched for minutes."""
MAX_EXPOSURE_QUOTE = 20_000
"""Of all positions, quote currency."""
SECONDS_PER_DAY = 86_400


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How many of what run."""

    strategies: tuple[str, ...]
    inference_replicas: int = 1
    exit_replicas: int = 1
    trains: bool = True
    """Whether a trainer is among them."""
    trainer_replicas: int = 1
    neighbours_apart: bool = False
    """Each neighbour is a process of its own, `sandbox-<part>`, so that one can be stopped."""
    changes: Mapping[str, str] = {}
    """Variables that differ from the demo's."""
    service_changes: Mapping[str, str] = {}
    """Variables that differ for our services, and not for the neighbours."""
    logins: Mapping[str, Mapping[str, str]] = {}
    """Variables of single services of ours: how they log in, where not as everybody."""
    restarts: Backoff = Backoff()
    """How long a process that ended by itself stays away."""


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """A running fleet, as somebody outside sees it."""

    addresses: dict[str, str]
    """Base URL by process."""
    api_key: str
    neighbours_key: str
    """Of the simulated Feature Service, Position Manager and ws-gateway."""
    restarts: Callable[[], int]
    """How often a process ended by itself and was started again."""
    start: Callable[[str], Awaitable[None]]
    """A process that was stopped runs again."""
    stop: Callable[[str], Awaitable[None]]
    """The process ends orderly and is not started again."""
    pid: Callable[[str], int | None]
    """Of a process that was not stopped; None while it waits for its restart."""


@asynccontextmanager
async def running_fleet(
    market: Market,
    settings: MarketSettings,
    run: PaperRun,
    *,
    shape: Shape,
    signals_per_minute: float,
    tell: Callable[[str, str], None],
    began: datetime,
) -> AsyncIterator[Fleet]:
    """Neighbours and services run, each as a process of its own; `tell` gets every line that they write."""
    processes = _processes(shape, run)
    ports = {name: free_port() for name in (*processes, *_ALWAYS_NAMED)}
    api_key = token_hex(32)
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "DATABASE_URL": run.database_url,
        "RABBITMQ_URL": run.rabbitmq_url,
        "TRADING_STRATEGIES": ",".join(shape.strategies),
        "MODEL_STORAGE_PATH": str(run.directory / "models"),
        "FEATURE_SERVICE_DATASET_STORAGE_PATH": str(run.directory / "datasets"),
        "SANDBOX_DATASETS_PATH": str(run.directory / "feature-service"),
        **_addresses(ports),
        **_market(market, settings, began),
        **_periods(market),
        **_exits(market),
        "MODEL_SERVICE_API_KEY": api_key,
        "FEATURE_SERVICE_DATASET_POLL_INTERVAL_SECONDS": "2",
        "MODEL_PROMOTION_POLICY": "honest",
        "MODEL_THRESHOLD_MIN_TRADE_SHARE": str(TRADE_SHARE),
        "MODEL_TRAINING_RETRY_SECONDS": "5",
        # On paper both sides may be traded; beside real money a short is opened only where somebody says so.
        "SHORT_ENTRIES_ENABLED": "true",
        # A single position is the whole exposure otherwise, and is never added to.
        "MAX_EXPOSURE_QUOTE": str(MAX_EXPOSURE_QUOTE),
        # Nobody cancels a limit order that the market ran away from, but a newer signal of its own side does.
        "SIGNAL_GENERATION_CHECK_OPPOSITE_ORDERS_ONLY": "true",
        "WARMUP_SIGNAL_FREQUENCY": str(signals_per_minute),
        **shape.changes,
    }
    async with Supervisor(logs=FLOTILLA / "logs", on_line=tell, backoff=shape.restarts) as supervisor:

        async def start(name: str) -> None:
            module, own = processes[name]
            if module in _PORT_VARIABLES:
                port = {_PORT_VARIABLES[module]: str(ports[name])}
                own = {**shape.service_changes, **shape.logins.get(module, {}), **port, **own}
            await supervisor.start(name, [sys.executable, "-m", module], {**environment, **own})

        for name, (module, _) in processes.items():
            if module == "api":  # the first service: it would wait by itself, and say so
                await _until_listening(ports["position_manager"])
            await start(name)
        yield Fleet(
            addresses={name: f"http://127.0.0.1:{ports[name]}" for name in processes},
            api_key=api_key,
            neighbours_key=environment["FEATURE_SERVICE_API_KEY"],
            restarts=lambda: sum(supervisor.restarts(name) for name in processes),
            start=start,
            stop=supervisor.stop,
            pid=supervisor.pid,
        )


def label_threshold(market: Market, settings: MarketSettings) -> float:
    """The return that counts as a move: the generator's own, or what a third of all moves stay below."""
    if not settings.candles:
        return edge_report(settings.sandbox_edge).threshold
    return float(np.quantile(np.abs(_horizon_returns(market)), FLAT_SHARE))


# Settings name the ports of these whether or not a process of that name runs.
_ALWAYS_NAMED = ("sandbox", "position_manager", "ws_gateway", "trainer")

# What names the port of a service of ours.
_PORT_VARIABLES = {
    "api": "MODEL_SERVICE_PORT",
    "inference": "INFERENCE_PORT",
    "trainer": "TRAINER_PORT",
    "exit_strategy": "EXIT_STRATEGY_PORT",
}


# Name of each process -> module to run, variables of its own; neighbours first.
def _processes(shape: Shape, run: PaperRun) -> dict[str, tuple[str, dict[str, str]]]:
    neighbours: dict[str, tuple[str, dict[str, str]]] = {"sandbox": ("sandbox", {})}
    if shape.neighbours_apart:
        neighbours = {f"sandbox-{part}": ("sandbox", {"SANDBOX_PARTS": part}) for part in PARTS}
    trainers = shape.trainer_replicas if shape.trains else 0
    without_own = ("api", *_replicas("inference", shape.inference_replicas), *_replicas("trainer", trainers))
    spools = {
        name: {"EXIT_SPOOL_PATH": str(run.directory / f"{name}.jsonl")}
        for name in _replicas("exit_strategy", shape.exit_replicas)
    }
    services: dict[str, dict[str, str]] = {**{name: {} for name in without_own}, **spools}
    return {**neighbours, **{name: (name.partition("-")[0], own) for name, own in services.items()}}


def _replicas(service: str, count: int) -> list[str]:
    return [service, *(f"{service}-{number}" for number in range(2, count + 1))][:count]


async def _until_listening(port: int) -> None:
    for _ in range(round(NEIGHBOURS_LIMIT_S / 0.1)):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


def _addresses(ports: dict[str, int]) -> dict[str, str]:
    neighbours_key = token_hex(32)
    return {
        "FEATURE_SERVICE_PORT": str(ports["sandbox"]),
        "FEATURE_SERVICE_API_KEY": neighbours_key,
        "POSITION_MANAGER_PORT": str(ports["position_manager"]),
        "POSITION_MANAGER_API_KEY": neighbours_key,
        "WS_GATEWAY_HOST": "127.0.0.1",
        "WS_GATEWAY_PORT": str(ports["ws_gateway"]),
        "WS_GATEWAY_API_KEY": neighbours_key,
        **{variable: str(ports[service]) for service, variable in _PORT_VARIABLES.items()},
    }


def _market(market: Market, settings: MarketSettings, began: datetime) -> dict[str, str]:
    bar_s = settings.sandbox_bar_seconds
    return {
        "SYMBOLS": ",".join(market.symbols),
        "TRADING_SYMBOLS": ",".join(market.symbols),
        "SANDBOX_STARTED_AT": began.isoformat(),
        "MARKET_DATA_MAX_AGE_SECONDS": str(MAX_AGE_BARS * bar_s),
        "MARKET_DATA_STALE_WARNING_THRESHOLD_SECONDS": str(MAX_AGE_BARS / 2 * bar_s),
        "MODEL_PREDICTION_HORIZON_SECONDS": str(round(DEFAULT_HORIZON_BARS * bar_s)),
        "MODEL_CLASSIFICATION_THRESHOLD": str(label_threshold(market, settings)),
    }


def _periods(market: Market) -> dict[str, str]:
    days = market.history_bars * market.bar.total_seconds() / SECONDS_PER_DAY
    return {
        "MODEL_RETRAINING_TRAIN_PERIOD_DAYS": str(days * (1 - UNUSED_SHARE - 2 * TEST_SHARE)),
        "MODEL_RETRAINING_VALIDATION_PERIOD_DAYS": str(days * TEST_SHARE),
        "MODEL_RETRAINING_TEST_PERIOD_DAYS": str(days * TEST_SHARE),
        "MODEL_PROMOTION_MIN_TEST_ROWS": "1000",
    }


def _exits(market: Market) -> dict[str, str]:
    move_pct = EXIT_SIGMAS * float(np.std(_horizon_returns(market))) * 100
    return {
        "STOP_LOSS_THRESHOLD_PCT": f"{-move_pct:.4f}",
        "MODEL_SERVICE_TAKE_PROFIT_PCT": f"{move_pct:.4f}",
    }


def _horizon_returns(market: Market) -> Floats:
    bars = market.closed_bars(market.symbols[0], market.started_at)
    if bars is None:
        raise ValueError("a market without history has no moves to learn from")
    close = bars[0].close
    return close[DEFAULT_HORIZON_BARS:] / close[:-DEFAULT_HORIZON_BARS] - 1
