"""The neighbours, all of them or some, behind one market: `python -m sandbox`."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
import uvicorn
from litestar import Litestar

from common.settings import EXIT_BAD_CONFIGURATION, load
from common.telemetry import configure_logging
from sandbox import feature_service, ws_gateway
from sandbox.candles import UnreadableCandles, read_candles
from sandbox.dataset_builds import DatasetBuilds, Pace
from sandbox.dataset_store import DatasetStore
from sandbox.errors import PortOccupied
from sandbox.market import BARS_MADE_AT_ONCE, Market, Series, synthetic_series
from sandbox.order_desk import DEFAULT_INSTRUMENTS, OrderManagerSettings, instrument
from sandbox.order_manager import OrderManager
from sandbox.ports import fixed_port
from sandbox.position_manager import PositionManager
from sandbox.position_manager import create_app as create_position_app
from sandbox.settings import MarketSettings, Part, SandboxSettings

log = structlog.get_logger(__name__)

_PORTS: dict[Part, str] = {
    "feature_service": "FEATURE_SERVICE_PORT",
    "position_manager": "POSITION_MANAGER_PORT",
    "order_manager": "WS_GATEWAY_PORT",
}

_Playing = tuple[list[uvicorn.Server], list[Coroutine[Any, Any, None]]]
"""A neighbour at work: what serves, and what runs beside it."""

HISTORY_SHARE = 0.8
"""Of a candle file, what may be history; the rest is left to trade."""


def main() -> None:
    """Runs the neighbours until SIGTERM or SIGINT.

    Exits 78 where the settings or a candle file are wrong, or a port is taken.
    """
    settings = load(SandboxSettings)
    configure_logging("sandbox", settings.model_service_log_level)
    try:
        for part, variable in _PORTS.items():
            if part in settings.sandbox_parts:
                fixed_port(getattr(settings, variable.lower()), variable)
        market = open_market(settings)
    except PortOccupied as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(EXIT_BAD_CONFIGURATION) from error
    except UnreadableCandles as error:
        sys.stderr.write(f"CANDLES: {error}\n")
        raise SystemExit(EXIT_BAD_CONFIGURATION) from error
    log.info("market opened", symbols=market.symbols, history_bars=market.history_bars)
    with TemporaryDirectory(prefix="flotilla-datasets-") as temporary:
        asyncio.run(_serve(settings, market, settings.sandbox_datasets_path or Path(temporary)))


def open_market(settings: MarketSettings) -> Market:
    """The market that the settings describe. Raises UnreadableCandles."""
    symbols = settings.chosen_symbols()
    history_bars = settings.sandbox_history_bars
    started_at = settings.started_at()
    if settings.candles:
        candles = [read_candles(path, min_bars=10) for path in settings.candle_files()]
        series = {symbol: Series(each) for symbol, each in zip(symbols, candles, strict=True)}
        history_bars = min(history_bars, int(HISTORY_SHARE * min(map(len, candles))))
    else:
        live_s = (datetime.now(UTC) - started_at).total_seconds()
        live_bars = max(int(live_s / settings.sandbox_bar_seconds), 0)
        series = {
            symbol: synthetic_series(
                symbol,
                seed=settings.seed,
                edge=settings.sandbox_edge,
                bars=history_bars + live_bars + BARS_MADE_AT_ONCE,
            )
            for symbol in symbols
        }
    return Market(
        series,
        started_at=started_at,
        bar_seconds=settings.sandbox_bar_seconds,
        history_bars=history_bars,
    )


async def _serve(settings: SandboxSettings, market: Market, datasets: Path) -> None:
    builds = DatasetBuilds(
        market,
        DatasetStore(datasets),
        partial(feature_service.announce_dataset, settings.rabbitmq_url.get_secret_value()),
        pace=Pace(seconds_per_row=settings.sandbox_seconds_per_dataset_row),
    )
    parts: dict[Part, Callable[[], _Playing]] = {
        "feature_service": lambda: _feature_service(settings, market, builds),
        "feature_stream": lambda: _feature_stream(settings, market, builds),
        "order_manager": lambda: _order_manager(settings, market),
        "position_manager": lambda: _position_manager(settings),
    }
    playing = [parts[part]() for part in settings.sandbox_parts]
    await _until_stopped(
        [server for servers, _ in playing for server in servers],
        *(neighbour for _, neighbours in playing for neighbour in neighbours),
        market.keep_ahead(feature_service.utcnow),
    )


def _feature_service(settings: SandboxSettings, market: Market, builds: DatasetBuilds) -> _Playing:
    app = feature_service.create_app(
        market, builds, api_key=settings.feature_service_api_key.get_secret_value()
    )
    return [_server(app, settings.listen_host, settings.feature_service_port)], [builds.run()]


def _feature_stream(settings: SandboxSettings, market: Market, builds: DatasetBuilds) -> _Playing:
    url = settings.rabbitmq_url.get_secret_value()
    return [], [feature_service.publish_live(market, url, hearing=builds.hearing)]


def _order_manager(settings: SandboxSettings, market: Market) -> _Playing:
    orders = OrderManager(
        database_url=settings.database_url.get_secret_value(),
        amqp_url=settings.rabbitmq_url.get_secret_value(),
        market=market,
        settings=_order_manager_settings(market.symbols),
    )
    app = ws_gateway.create_app(orders.write_balances)
    return [_server(app, settings.listen_host, settings.ws_gateway_port)], [orders.run()]


def _position_manager(settings: SandboxSettings) -> _Playing:
    manager = PositionManager(
        database_url=settings.database_url.get_secret_value(),
        amqp_url=settings.rabbitmq_url.get_secret_value(),
    )
    app = create_position_app(manager, api_key=settings.position_manager_api_key.get_secret_value())
    return [_server(app, settings.listen_host, settings.position_manager_port)], [manager.run()]


# A signal ends them all, and so does the end of any one of them.
async def _until_stopped(servers: Sequence[uvicorn.Server], *neighbours: Coroutine[Any, Any, None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = [asyncio.create_task(server.serve()) for server in servers]
    running = [asyncio.create_task(neighbour) for neighbour in neighbours]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *serving, *running], return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.should_exit = True
    for task in (stopped, *running):
        task.cancel()
    await asyncio.gather(*serving, *running, return_exceptions=True)
    for task in done:
        task.result()


class _Server(uvicorn.Server):
    # Each of several servers would take the signals from the one before it.
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _server(app: Litestar, host: str, port: int) -> uvicorn.Server:
    return _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,  # a deaf service would never finish its requests
        )
    )


def _order_manager_settings(symbols: Sequence[str]) -> OrderManagerSettings:
    known = {each.symbol for each in DEFAULT_INSTRUMENTS}
    others = tuple(
        instrument(symbol, lot="0.001", tick="0.0001") for symbol in symbols if symbol not in known
    )
    return OrderManagerSettings(instruments=DEFAULT_INSTRUMENTS + others)
