"""The neighbours in one process, behind one market: `python -m sandbox`."""

import asyncio
import sys
from collections.abc import Sequence

import structlog
import uvicorn

from common.settings import EXIT_BAD_CONFIGURATION, load
from common.telemetry import configure_logging
from sandbox import feature_service
from sandbox.candles import UnreadableCandles, read_candles
from sandbox.market import Market, Series, synthetic_series
from sandbox.order_desk import DEFAULT_INSTRUMENTS, OrderManagerSettings, instrument
from sandbox.order_manager import OrderManager
from sandbox.settings import MarketSettings, SandboxSettings

log = structlog.get_logger(__name__)

HISTORY_SHARE = 0.8
"""Of a candle file, what may be history; the rest is left to trade."""


def main() -> None:
    """Runs the neighbours until SIGTERM or SIGINT; exits 78 where the settings or a candle file are wrong."""
    settings = load(SandboxSettings)
    configure_logging("sandbox", settings.model_service_log_level)
    try:
        market = open_market(settings)
    except UnreadableCandles as error:
        sys.stderr.write(f"CANDLES: {error}\n")
        raise SystemExit(EXIT_BAD_CONFIGURATION) from error
    log.info("market opened", symbols=market.symbols, history_bars=market.history_bars)
    asyncio.run(_serve(settings, market))


def open_market(settings: MarketSettings) -> Market:
    """The market that the settings describe. Raises UnreadableCandles."""
    symbols = settings.chosen_symbols()
    history_bars = settings.sandbox_history_bars
    if settings.candles:
        candles = [read_candles(path, min_bars=10) for path in settings.candle_files()]
        series = {symbol: Series(each) for symbol, each in zip(symbols, candles, strict=True)}
        history_bars = min(history_bars, int(HISTORY_SHARE * min(map(len, candles))))
    else:
        series = {
            symbol: synthetic_series(symbol, seed=settings.seed, edge=settings.sandbox_edge)
            for symbol in symbols
        }
    return Market(
        series,
        started_at=settings.started_at(),
        bar_seconds=settings.sandbox_bar_seconds,
        history_bars=history_bars,
    )


async def _serve(settings: SandboxSettings, market: Market) -> None:
    amqp_url = settings.rabbitmq_url.get_secret_value()
    orders = OrderManager(
        database_url=settings.database_url.get_secret_value(),
        amqp_url=amqp_url,
        market=market,
        settings=_order_manager_settings(market.symbols),
    )
    api_key = settings.feature_service_api_key.get_secret_value()
    http = uvicorn.Server(
        uvicorn.Config(
            feature_service.create_app(market, api_key=api_key),
            host=settings.listen_host,
            port=settings.feature_service_port,
            log_config=None,
            access_log=False,
        )
    )
    neighbours = [
        asyncio.create_task(orders.run()),
        asyncio.create_task(feature_service.publish_live(market, amqp_url)),
    ]
    # uvicorn handles the signals: once it ends, so do the others; one of them failing ends all.
    server = asyncio.create_task(http.serve())
    done, _ = await asyncio.wait([server, *neighbours], return_when=asyncio.FIRST_COMPLETED)
    http.should_exit = True
    for neighbour in neighbours:
        neighbour.cancel()
    await asyncio.gather(server, *neighbours, return_exceptions=True)
    for task in done:
        task.result()


def _order_manager_settings(symbols: Sequence[str]) -> OrderManagerSettings:
    known = {each.symbol for each in DEFAULT_INSTRUMENTS}
    others = tuple(
        instrument(symbol, lot="0.001", tick="0.0001") for symbol in symbols if symbol not in known
    )
    return OrderManagerSettings(instruments=DEFAULT_INSTRUMENTS + others)
