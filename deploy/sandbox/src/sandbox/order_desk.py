"""The Order Manager's desk: one signal in, an order on paper, rows and events out.

Whatever signal comes next first cancels the symbol's open orders, then passes the risk checks, then goes to
the exchange; two signals within the placement latency run side by side, as with the real one. The tables are
the truth: memory is replaced from them at start and whenever a write may not have arrived.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

import asyncpg
import msgspec
import structlog

from sandbox import order_ledger
from sandbox.core.order_rules import (
    ZERO,
    Instrument,
    Plan,
    Side,
    Signal,
    exchange_refusal,
    is_opposite,
    is_storable,
    plan_order,
    risk_rejection,
)
from sandbox.core.orders import (
    Event,
    Order,
    cancelled,
    cancelled_event,
    crosses,
    fill_event,
    filled,
    placed,
    rejected,
    rejected_event,
    tradable,
)
from sandbox.core.paper_account import QUANTUM, Account, Fill, after_fill, fee, market_price

QUOTE_COIN = "USDT"

log = structlog.get_logger(__name__)


class Market(Protocol):
    """Where prices come from. `now` is an aware UTC time."""

    def price(self, symbol: str, now: datetime) -> float | None:
        """Mid price in quote currency, None when nothing is known."""
        ...

    def spread_rel(self, symbol: str, now: datetime) -> float | None:
        """Bid-ask spread as a fraction of the mid price."""
        ...


class OrderManagerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How account, exchange and Order Manager are simulated; the defaults are the stock deployment's."""

    instruments: tuple[Instrument, ...] = ()
    """What can be traded; other symbols are refused by the exchange. Empty: `DEFAULT_INSTRUMENTS`."""
    starting_balance_quote: Decimal = Decimal(100_000)
    taker_fee_rate: Decimal = Decimal("0.001")
    maker_fee_rate: Decimal = Decimal("0.0002")
    slippage_rate: Decimal = Decimal("0.0005")
    cap_quote: Decimal = Decimal(1_000)
    """Above it an order is shrunk to a quantity that the exchange refuses."""
    max_position_size: Decimal = Decimal("2.0")
    """Base units, for every asset alike."""
    in_parts_above_quote: Decimal = Decimal(500)
    """Limit orders above it fill in parts."""
    placement_latency_s: float = 0.1
    """From the risk checks to the order's row: within it two signals run side by side."""
    fill_latency_s: float = 0.05
    """How long a market order stays pending."""
    poll_interval_s: float = 0.5
    """How often resting orders look at the market: once a bar."""
    heartbeat_interval_s: float = 10.0
    """How often a balance row is written when nothing happens."""
    next_release: bool = False
    """Closes opposite positions before a new order, and takes profit at 3 % and stops at 2 % by itself."""


def instrument(symbol: str, *, lot: str, tick: str) -> Instrument:
    """Trading rules of a USDT contract with a minimum order of 5 USDT and one lot."""
    return Instrument(
        symbol=symbol,
        base_coin=symbol.removesuffix(QUOTE_COIN),
        quote_coin=QUOTE_COIN,
        lot_size=Decimal(lot),
        min_order_qty=Decimal(lot),
        min_order_value=Decimal(5),
        price_tick_size=Decimal(tick),
    )


DEFAULT_INSTRUMENTS = (
    instrument("BTCUSDT", lot="0.001", tick="0.01"),
    instrument("ETHUSDT", lot="0.01", tick="0.01"),
    instrument("BNBUSDT", lot="0.01", tick="0.01"),
    instrument("SOLUSDT", lot="0.1", tick="0.01"),
    instrument("LTCUSDT", lot="0.1", tick="0.01"),
    instrument("XRPUSDT", lot="0.1", tick="0.0001"),
)


class OrderDesk:
    """Account and open orders of one Order Manager; `announce` takes each event after its rows are stored."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        market: Market,
        settings: OrderManagerSettings,
        announce: Callable[[Event], None],
    ) -> None:
        self._pool = pool
        self._market = market
        self._settings = settings
        self._announce = announce
        listed = settings.instruments or DEFAULT_INSTRUMENTS
        self._instruments = {each.symbol: each for each in listed}
        self._account = Account(wallet_quote=settings.starting_balance_quote)
        self._open: dict[uuid.UUID, Order] = {}
        self._is_stale = True
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Tables, trading rules and a first balance are there."""
        await order_ledger.prepare(self._pool, self._instruments.values(), _now())
        await self.heartbeat()

    async def heartbeat(self) -> None:
        """A fresh balance row is written."""
        async with self._books():
            await self._record()

    async def execute(self, signal: Signal, trace_id: object) -> None:
        """The signal is dealt with: ignored as known, rejected, resting or filled."""
        trace = trace_id if isinstance(trace_id, str) and 1 <= len(trace_id) <= 100 else None
        async with self._books():
            if await order_ledger.is_known(self._pool, signal.signal_id):
                log.info("duplicate signal ignored", signal_id=str(signal.signal_id))
                return
            await self._cancel_open_orders(signal.symbol, trace or _fresh_trace())
            if self._settings.next_release and not signal.is_exit:
                await self._close_opposite(signal)
            plan = self._plan(signal)
            size = self._account.holding(signal.symbol).size
            reason = risk_rejection(plan, size, self._available, self._settings.max_position_size)
            if reason:
                await self._reject(signal, plan, reason, trace)
                return
        await asyncio.sleep(self._settings.placement_latency_s)
        async with self._books():
            order = await self._place(signal, plan, trace)
        if order is not None and order.order_type == "Market":
            await asyncio.sleep(self._settings.fill_latency_s)
            async with self._books():
                await self._trade(order.id)

    async def look_at_market(self) -> None:
        """Whatever the market's price has reached is filled."""
        async with self._books():
            for order in list(self._open.values()):
                age_s = (_now() - order.created_at).total_seconds()
                if order.price is not None or age_s > self._settings.fill_latency_s:
                    await self._trade(order.id)
            if self._settings.next_release:
                for symbol in list(self._account.holdings):
                    await self._take_profit_or_stop(symbol)

    def _plan(self, signal: Signal) -> Plan:
        size = self._account.holding(signal.symbol).size
        return plan_order(signal, size, self._rules(signal.symbol), self._settings.cap_quote)

    def _rules(self, symbol: str) -> Instrument:
        return self._instruments.get(symbol) or instrument(symbol, lot="0.001", tick="0.0001")

    async def _place(self, signal: Signal, plan: Plan, trace: str | None) -> Order | None:
        reason = self._refusal(plan)
        if reason:
            await self._reject(signal, plan, reason, trace)
            return None
        if trace is None:
            log.error("order placed, but its row can not be saved: trace_id is not 1 to 100 characters")
            return None
        if plan.reduce_only:
            held = abs(self._account.holding(plan.symbol).size)
            plan = msgspec.structs.replace(plan, quantity=min(plan.quantity, held))
        order = self._new_order(plan, signal.signal_id, trace)
        await self._record(order)
        log.info("order placed", symbol=order.symbol, side=order.side, quantity=str(order.quantity))
        mid = self._mid(order.symbol)
        if mid is not None and crosses(order, mid, self._spread_rel(order.symbol)):
            await self._cancel(order, trace)  # post-only: it would have taken liquidity
        return order

    def _refusal(self, plan: Plan) -> str | None:
        if plan.symbol not in self._instruments:
            return "Order execution failed: Bybit API error: symbol invalid (code 10001)"
        if plan.reduce_only and not is_opposite(plan.side, self._account.holding(plan.symbol).size):
            return (
                "Order execution failed: Bybit API error: current position is zero, "
                "cannot fix reduce-only order qty (code 110017)"
            )
        cost_rate = self._settings.taker_fee_rate + self._settings.slippage_rate
        return exchange_refusal(plan, self._rules(plan.symbol), self._available, cost_rate)

    async def _reject(self, signal: Signal, plan: Plan, reason: str, trace: str | None) -> None:
        log.info("signal rejected", symbol=signal.symbol, reason=reason)
        order = rejected(self._new_order(plan, signal.signal_id, trace or _fresh_trace()), reason)
        if (
            trace is not None
            and is_storable(order.quantity)
            and (order.price is None or is_storable(order.price))
        ):
            await self._record(order)
        self._announce(rejected_event(order, signal, event_id=uuid.uuid4(), now=_now()))
        if reason.startswith("Order execution failed"):
            # The executor and its caller both report it; the second report names an id of no row.
            again = msgspec.structs.replace(order, id=uuid.uuid4())
            self._announce(rejected_event(again, signal, event_id=uuid.uuid4(), now=_now()))

    def _new_order(self, plan: Plan, signal_id: uuid.UUID, trace: str) -> Order:
        return placed(
            plan,
            order_uuid=uuid.uuid4(),
            order_id=str(uuid.uuid4()),
            signal_id=signal_id,
            trace_id=trace,
            now=_now(),
        )

    async def _cancel_open_orders(self, symbol: str, trace: str) -> None:
        for order in [each for each in self._open.values() if each.symbol == symbol]:
            await self._cancel(order, trace)

    async def _cancel(self, order: Order, trace: str) -> None:
        after = cancelled(order, _now())
        await self._record(after)
        self._announce(cancelled_event(order, after, trace_id=trace, event_id=uuid.uuid4(), now=_now()))

    async def _trade(self, order_id: uuid.UUID) -> None:
        """Fills what the market gives now; an order that has nothing left to reduce is cancelled."""
        order = self._open.get(order_id)
        mid = self._mid(order.symbol) if order else None
        if order is None or mid is None:
            return
        size = self._account.holding(order.symbol).size
        if order.reduce_only and not is_opposite(order.side, size):
            await self._cancel(order, _fresh_trace())
            return
        rules = self._rules(order.symbol)
        quantity = tradable(order, mid, size, rules.lot_size, self._settings.in_parts_above_quote)
        if quantity:
            await self._fill(order, quantity, order.price or self._taker_price(order, mid, rules))

    def _taker_price(self, order: Order, mid: Decimal, rules: Instrument) -> Decimal:
        spread_rel = self._spread_rel(order.symbol)
        return market_price(order.side, mid, spread_rel, self._settings.slippage_rate, rules.price_tick_size)

    async def _fill(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        rate = self._settings.taker_fee_rate if order.price is None else self._settings.maker_fee_rate
        fee_quote = fee(quantity, price, rate)
        fill = Fill(symbol=order.symbol, side=order.side, quantity=quantity, price=price, fee_quote=fee_quote)
        after = filled(order, quantity, price, fee_quote, _now())
        await self._record(after, account=after_fill(self._account, fill))
        if after.status != order.status:  # a later partial fill is silent
            self._announce(
                fill_event(after, price, trace_id=_fresh_trace(), event_id=uuid.uuid4(), now=_now())
            )

    async def _close_opposite(self, signal: Signal) -> None:
        if is_opposite(signal.side, self._account.holding(signal.symbol).size):
            await self._close(signal.symbol, signal.signal_id)

    async def _take_profit_or_stop(self, symbol: str) -> None:
        holding, mid = self._account.holding(symbol), self._mid(symbol)
        if mid is None or not holding.size:
            return
        pnl_pct = (holding.value_quote(mid) / holding.margin_quote - 1) * 100
        if pnl_pct >= 3 or pnl_pct <= -2:
            await self._close(symbol, uuid.uuid4())

    async def _close(self, symbol: str, signal_id: uuid.UUID) -> None:
        size, mid = self._account.holding(symbol).size, self._mid(symbol)
        side: Side = "SELL" if size > 0 else "Buy"
        plan = Plan(
            symbol=symbol,
            side=side,
            order_type="Market",
            quantity=abs(size),
            price=None,
            reference_price=mid or ZERO,
            reduce_only=True,
        )
        order = self._new_order(plan, signal_id, _fresh_trace())
        await self._record(order)
        await self._trade(order.id)

    @asynccontextmanager
    async def _books(self) -> AsyncIterator[None]:
        """Holds account and open orders; reads them anew when the last write may not have arrived."""
        async with self._lock:
            if self._is_stale:
                starting = self._settings.starting_balance_quote
                self._account = await order_ledger.account(self._pool, QUOTE_COIN, starting)
                self._open = await order_ledger.open_orders(self._pool, self._account.holdings)
                self._is_stale = False
            yield

    async def _record(self, *orders: Order, account: Account | None = None) -> None:
        account = account or self._account
        still_open = {**self._open, **{order.id: order for order in orders}}
        still_open = {key: order for key, order in still_open.items() if order.is_open}
        self._is_stale = True
        await order_ledger.record(
            self._pool,
            orders,
            self._balances(account, still_open.values()),
            quote_coin=QUOTE_COIN,
            trace_id=orders[0].trace_id if orders else None,
            now=_now(),
        )
        self._account, self._open, self._is_stale = account, still_open, False

    @property
    def _available(self) -> Decimal:
        return self._balances(self._account, self._open.values()).available.quantize(QUANTUM)

    def _balances(self, account: Account, open_orders: Iterable[Order]) -> order_ledger.Balances:
        value = ZERO
        for symbol, holding in account.holdings.items():
            mid = self._mid(symbol)
            value += holding.margin_quote if mid is None else holding.value_quote(mid)
        return order_ledger.Balances(
            wallet=account.wallet_quote,
            frozen=sum((order.reserved_quote for order in open_orders), ZERO),
            margin=account.margin_quote,
            equity=account.wallet_quote + value,
        )

    def _mid(self, symbol: str) -> Decimal | None:
        price = self._market.price(symbol, datetime.now(UTC))
        return None if price is None else Decimal(repr(float(price)))

    def _spread_rel(self, symbol: str) -> Decimal:
        spread = self._market.spread_rel(symbol, datetime.now(UTC))
        return ZERO if spread is None else Decimal(repr(float(spread)))


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _fresh_trace() -> str:
    return str(uuid.uuid4())
