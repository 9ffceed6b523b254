"""Which symbols are traded: the operator's list, and with AUTO_SELECT_ASSETS what balances allow of it.

The list of the settings and of strategies.toml says what each strategy may trade; the choice by balances
narrows it. The choice is made beside the messages and holds for its TTL; a vector only looks it up.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

import structlog
from prometheus_client import Counter
from sqlalchemy import ARRAY, String, TableValuedAlias, func, literal, select, true
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.database import DATABASE_ERRORS
from common.errors import first_line
from common.settings import StrategySettings
from common.tables import account_balances, instrument_info, minute_bars
from inference.core.assets import Choice, Holding, Pair, choose
from inference.core.snapshot import SnapshotFeatures, feature_of
from inference.events import Event
from inference.feature_settings import AssetSettings
from inference.live_vectors import LiveVectors

log = structlog.get_logger(__name__)

REFRESH_INTERVAL_S = 5.0
"""How often it is looked whether the choice has aged out, or a failed one can be made now."""
LOOKUPS = Counter("flotilla_assets", "Questions which symbols are traded, and readings.", ["result"])


def configured_symbols(settings: StrategySettings) -> frozenset[str] | None:
    """Every symbol that a strategy names; None: one of them trades all of the stream."""
    named = [settings.symbols_of(strategy_id) for strategy_id in settings.strategies()]
    return frozenset(symbol for symbols in named for symbol in symbols) if all(named) else None


class ConfiguredAssets:
    """The operator's list as it is."""

    def __init__(self, symbols: frozenset[str] | None) -> None:
        self._symbols = symbols

    def symbols(self) -> frozenset[str] | None:
        """The symbols that are traded; None: all of the stream."""
        return self._symbols


class SelectedAssets:
    """What balances allow of the operator's list."""

    def __init__(
        self,
        settings: AssetSettings,
        configured: frozenset[str] | None,
        engine: AsyncEngine,
        live: LiveVectors,
        names: SnapshotFeatures,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._configured = configured
        self._engine = engine
        self._live = live
        self._names = names
        self._clock = clock
        self._symbols: frozenset[str] = frozenset()
        self._holds_until = 0.0
        self._problem: str | None = "no choice of symbols has been made yet"

    def symbols(self) -> frozenset[str] | None:
        """The symbols that are traded; none before the first choice was made."""
        LOOKUPS.labels("hit").inc()
        return self._symbols

    async def problem(self) -> str | None:
        """Why the fallback is traded, for /health."""
        return self._problem

    async def refresh(self) -> None:
        """The choice is at most its TTL old; one that could not be made is tried again each time."""
        if self._problem is None and self._clock() < self._holds_until:
            return
        LOOKUPS.labels("miss").inc()
        try:
            async with self._engine.connect() as connection:
                choice = await self._choice(connection)
        except DATABASE_ERRORS as error:
            self._fall_back(f"balances could not be read: {first_line(error)}")
            return
        if not choice.chosen:
            self._fall_back(_why_empty(choice, self._settings))
            return
        self._holds_until = self._clock() + self._settings.auto_select_cache_ttl_seconds
        if choice.symbols != self._symbols or self._problem is not None:
            log.info(
                Event.ASSETS_SELECTED,
                symbols=sorted(choice.symbols),
                balances=_figures(choice),
                unpriced=list(choice.unpriced),
            )
        self._symbols, self._problem = choice.symbols, None

    async def _choice(self, connection: AsyncConnection) -> Choice:
        pairs = [pair for pair in await pairs_of(connection) if self._may_trade(pair.symbol)]
        coins = {coin for pair in pairs for coin in (pair.base_coin, pair.quote_coin)}
        return choose(
            pairs,
            await newest_holdings(connection, coins),
            await self._prices(connection, [pair.symbol for pair in pairs]),
            self._settings.wanted(),
        )

    def _may_trade(self, symbol: str) -> bool:
        return self._configured is None or symbol in self._configured

    async def _prices(self, connection: AsyncConnection, symbols: Iterable[str]) -> dict[str, Decimal]:
        live: dict[str, Decimal] = {}
        unseen: list[str] = []
        for symbol in symbols:
            vector = self._live.latest(symbol)
            price = feature_of(vector, self._names.price) if vector is not None else None
            if price is None:
                unseen.append(symbol)
            else:
                live[symbol] = Decimal(repr(price))
        return {**await newest_closes(connection, unseen), **live}

    def _fall_back(self, reason: str) -> None:
        fallback = frozenset(filter(self._may_trade, self._settings.auto_select_fallback_assets))
        if reason != self._problem or fallback != self._symbols:
            log.warning(Event.ASSETS_FALLBACK, reason=reason, symbols=sorted(fallback))
        self._symbols, self._problem = fallback, reason


async def pairs_of(connection: AsyncConnection) -> list[Pair]:
    """Every pair of instrument_info whose symbol a signal can name."""
    rows = await connection.execute(
        select(instrument_info.c.symbol, instrument_info.c.base_coin, instrument_info.c.quote_coin).where(
            instrument_info.c.symbol.regexp_match("^[A-Z0-9]{4,20}$"),
            instrument_info.c.base_coin.is_not(None),
            instrument_info.c.quote_coin.is_not(None),
        )
    )
    return [Pair(symbol=row.symbol, base_coin=row.base_coin, quote_coin=row.quote_coin) for row in rows]


async def newest_holdings(connection: AsyncConnection, coins: Iterable[str]) -> dict[str, Holding]:
    """The newest balance of each of the coins: account_balances is append-only and long."""
    asked = _asked(coins)
    newest = (
        select(account_balances.c.wallet_balance, account_balances.c.available_balance)
        .where(account_balances.c.coin == asked.c.name)
        .order_by(account_balances.c.received_at.desc())
        .limit(1)
        .lateral("newest")
    )
    rows = await connection.execute(select(asked.c.name, newest).join(newest, true()))
    return {row.name: Holding(wallet=row.wallet_balance, free=row.available_balance) for row in rows}


async def newest_closes(connection: AsyncConnection, symbols: Iterable[str]) -> Mapping[str, Decimal]:
    """The last price that the fleet saw of each of the symbols."""
    asked = _asked(symbols)
    newest = (
        select(minute_bars.c.close)
        .where(minute_bars.c.symbol == asked.c.name)
        .order_by(minute_bars.c.minute.desc())
        .limit(1)
        .lateral("newest")
    )
    rows = await connection.execute(select(asked.c.name, newest.c.close).join(newest, true()))
    return {row.name: row.close for row in rows}


def _asked(names: Iterable[str]) -> TableValuedAlias:
    return func.unnest(literal(sorted(names), ARRAY(String))).table_valued("name", name="asked")


def _figures(choice: Choice) -> dict[str, dict[str, str]]:
    return {
        each.coin: {"balance": str(each.balance), "usdt": str(each.value_usdt), "counts_as": each.why}
        for each in choice.chosen
    }


def _why_empty(choice: Choice, settings: AssetSettings) -> str:
    reason = (
        f"no pair of {', '.join(settings.auto_select_quote_currencies)} has a balance worth"
        f" {settings.auto_select_min_balance_usdt} USDT"
    )
    return (
        f"{reason}; not counted for want of a price: {', '.join(choice.unpriced)}"
        if choice.unpriced
        else reason
    )
