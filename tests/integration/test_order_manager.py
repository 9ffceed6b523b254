"""The simulated Order Manager on a real broker and a real database."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import aio_pika
import asyncpg
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from tests.cable import Cable

from sandbox.order_desk import OrderManagerSettings
from sandbox.order_manager import EVENTS_QUEUE, SIGNALS_QUEUE, OrderManager

PATIENCE_S = 15
T = TypeVar("T")
_INSTRUMENTS_EXIST = "SELECT to_regclass('instrument_info') IS NOT NULL"
SETTINGS = OrderManagerSettings(
    placement_latency_s=0.02, fill_latency_s=0.02, poll_interval_s=0.05, heartbeat_interval_s=0.2
)


class FixedMarket:
    """A market whose price stands where the test puts it."""

    def __init__(self, price: float | None) -> None:
        self.mid = price

    def price(self, symbol: str, now: datetime) -> float | None:
        return self.mid

    def spread_rel(self, symbol: str, now: datetime) -> float | None:
        return 0.0002


class Bench:
    """A running Order Manager with a hand on its market, its queues and its tables."""

    def __init__(self, channel: AbstractChannel, database: asyncpg.Connection, market: FixedMarket) -> None:
        self.channel = channel
        self.database = database
        self.market = market
        self.deliveries: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def send(self, body: object, trace_id: Any = "hdr-1") -> str:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = aio_pika.Message(text, headers={"trace_id": trace_id})
        await self.channel.default_exchange.publish(message, routing_key=SIGNALS_QUEUE)
        return body["signal_id"] if isinstance(body, dict) else ""

    async def event(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            message = await self.deliveries.get()
        assert message.content_type == "application/json"
        assert message.delivery_mode == aio_pika.DeliveryMode.NOT_PERSISTENT
        event = json.loads(message.body)
        assert message.headers["trace_id"] == event["trace_id"]
        return dict(event)

    async def orders(self, status: str | None = None) -> list[dict[str, Any]]:
        rows = await self.database.fetch("SELECT * FROM orders ORDER BY created_at")
        return [dict(row) for row in rows if status in {None, row["status"]}]

    async def until_orders(self, count: int, status: str) -> list[dict[str, Any]]:
        return await eventually(lambda: self.orders(status), lambda found: len(found) >= count)

    async def wallet(self) -> asyncpg.Record:
        return await self.database.fetchrow("SELECT * FROM account_balances ORDER BY id DESC LIMIT 1")


@pytest.fixture
async def bench(empty_database_url: str, amqp_url: str) -> AsyncIterator[Bench]:
    async with bench_at(empty_database_url, amqp_url) as ready, running(empty_database_url, amqp_url, ready):
        yield ready


@asynccontextmanager
async def bench_at(database_url: str, amqp_url: str, price: float | None = 92011.4) -> AsyncIterator[Bench]:
    connection = await aio_pika.connect(amqp_url)
    database = await asyncpg.connect(database_url)
    async with connection:
        channel = await connection.channel()
        for name in (SIGNALS_QUEUE, EVENTS_QUEUE):
            await (await channel.declare_queue(name, durable=True)).purge()
        ready = Bench(channel, database, FixedMarket(price))
        events = await channel.declare_queue(EVENTS_QUEUE, durable=True)
        await events.consume(ready.deliveries.put, no_ack=True)
        yield ready
    await database.close()


@asynccontextmanager
async def running(
    database_url: str, amqp_url: str, bench: Bench, settings: OrderManagerSettings = SETTINGS
) -> AsyncIterator[OrderManager]:
    order_manager = OrderManager(
        database_url=database_url, amqp_url=amqp_url, market=bench.market, settings=settings
    )
    task = asyncio.create_task(order_manager.run())
    async with asyncio.timeout(PATIENCE_S):
        await order_manager.ready.wait()
    yield order_manager
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def eventually(read: Callable[[], Awaitable[T]], is_enough: Callable[[T], bool]) -> T:
    """What `read` answers as soon as it is enough; fails after `PATIENCE_S`."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await read()
            if is_enough(found):
                return found
            await asyncio.sleep(0.01)


def _value(read: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    async def answer() -> T:
        return read()

    return answer


def signal(side: str = "buy", amount: float = 250.0, **changes: Any) -> dict[str, Any]:
    """A resting entry of `amount` USDT at 92011.4; `urgency=True` makes it a market order."""
    urgency = changes.pop("urgency", False)
    return {
        "signal_id": str(uuid.uuid4()),
        "signal_type": side,
        "asset": "BTCUSDT",
        "amount": amount,
        "confidence": 0.83,
        "timestamp": datetime.now(UTC).isoformat(),
        "strategy_id": "momentum_v1",
        "market_data_snapshot": {"price": 92011.4, "spread": 0.2},
        "metadata": {"urgency": urgency},
        **changes,
    }


async def test_an_urgent_entry_and_its_exit_are_filled_booked_and_announced(bench):
    bought = await bench.send(signal("buy", 500.0, urgency=True))
    entry = await bench.event()
    sold = await bench.send(signal("sell", 460.1, urgency=True))
    exit_ = await bench.event()

    assert [entry["event_type"], exit_["event_type"]] == ["filled", "filled"]
    assert [entry["order"]["signal_id"], exit_["order"]["signal_id"]] == [bought, sold]
    assert entry["trace_id"] != "hdr-1"  # a fill's trace is a fresh one
    assert entry["order"]["price"] is None
    assert entry["order"]["filled_quantity"] == "0.00500000"
    assert (
        Decimal(entry["order"]["average_price"])
        > Decimal("92011.4")
        > Decimal(exit_["order"]["average_price"])
    )
    bought_for, sold_for = (
        Decimal(event["order"]["average_price"]) * Decimal("0.005") for event in (entry, exit_)
    )
    fees = sum(Decimal(event["order"]["fees"]) for event in (entry, exit_))
    assert (await bench.wallet())["wallet_balance"] == 100_000 - bought_for + sold_for - fees
    rows = await bench.until_orders(2, "filled")
    assert [row["trace_id"] for row in rows] == ["hdr-1", "hdr-1"]
    assert await bench.database.fetchval("SELECT count(*) FROM signal_order_relationships") == 2


async def test_a_resting_entry_waits_for_its_price_and_fills_at_it(bench):
    await bench.send(signal())
    pending = await bench.until_orders(1, "pending")
    frozen = (await bench.wallet())["frozen"]

    bench.market.mid = 91900.0
    event = await bench.event()

    assert pending[0]["price"] == Decimal("91919.38")
    assert frozen == Decimal("183.83876")
    assert event["event_type"] == "filled"
    assert event["order"]["average_price"] == "91919.38000000"
    assert (await bench.wallet())["frozen"] == 0


async def test_only_the_first_part_of_a_larger_resting_order_is_announced(bench):
    await bench.send(signal(amount=940.0))
    await bench.until_orders(1, "pending")

    bench.market.mid = 91900.0
    events = [await bench.event(), await bench.event()]

    assert [event["event_type"] for event in events] == ["partially_filled", "filled"]
    assert [event["order"]["filled_quantity"] for event in events] == ["0.00400000", "0.01000000"]
    assert events[0]["execution_details"]["fill_percentage"] == 40.0
    assert bench.deliveries.empty()


async def test_any_signal_cancels_the_resting_order_even_one_that_is_then_rejected(bench):
    resting = await bench.send(signal())
    await bench.until_orders(1, "pending")

    refused = await bench.send(signal(asset="BTCUSDT", market_data_snapshot={"price": 1.0}), trace_id="hdr-2")
    events = [await bench.event(), await bench.event()]

    assert [event["event_type"] for event in events] == ["cancelled", "rejected"]
    assert [event["order"]["signal_id"] for event in events] == [resting, refused]
    assert [event["trace_id"] for event in events] == ["hdr-2", "hdr-2"]
    assert "Position size would exceed limit" in events[1]["rejection_reason"]
    assert events[1]["order"]["order_id"] == f"REJECTED-{refused}"
    assert len(await bench.orders("rejected")) == 1


async def test_an_order_above_the_cap_is_refused_by_the_exchange_and_announced_twice(bench):
    await bench.send(signal(amount=1500.0))
    events = [await bench.event(), await bench.event()]

    assert all(event["rejection_reason"].startswith("Order execution failed: ") for event in events)
    known = {str(row["id"]) for row in await bench.orders("rejected")}
    assert [event["order"]["id"] in known for event in events] == [True, False]


async def test_a_rejected_signal_is_tried_again_under_its_id_and_a_filled_one_is_not(bench):
    urgent = signal(urgency=True, market_data_snapshot={"price": 1.0})
    await bench.send(urgent)
    first = await bench.event()
    retried = {**urgent, "market_data_snapshot": {"price": 92011.4}}
    await bench.send(retried)
    second = await bench.event()
    await bench.send(retried)
    other = await bench.send(signal(asset="NOPEUSDT"))
    third = await bench.event()

    assert [first["event_type"], second["event_type"]] == ["rejected", "filled"]
    assert third["order"]["signal_id"] == other
    assert "symbol invalid" in third["rejection_reason"]
    assert len(await bench.orders("filled")) == 1


@pytest.mark.parametrize("body", [b"not json", b"[" * 100_000, b"\xff\xfe", b"null", {"signal_id": "x"}])
async def test_a_malformed_message_leaves_nothing_behind(bench, body):
    await bench.send(body)
    good = await bench.send(signal(urgency=True))

    event = await bench.event()

    assert event["order"]["signal_id"] == good
    assert len(await bench.orders()) == 1


@pytest.mark.parametrize("trace_id", ["", "t" * 101, 7, None])
async def test_an_order_with_an_unusable_trace_id_has_no_row_and_no_event(bench, trace_id):
    await bench.send(signal(urgency=True), trace_id=trace_id)
    saved = await bench.send(signal(urgency=True))

    event = await bench.event()

    assert event["order"]["signal_id"] == saved
    assert len(await bench.orders()) == 1


async def test_a_market_exit_that_is_still_pending_is_cancelled_by_the_next_signal(
    empty_database_url, amqp_url
):
    slow = OrderManagerSettings(placement_latency_s=0, fill_latency_s=0.4, poll_interval_s=0.05)
    async with (
        bench_at(empty_database_url, amqp_url) as bench,
        running(empty_database_url, amqp_url, bench, slow),
    ):
        first = await bench.send(signal(urgency=True))
        await bench.until_orders(1, "pending")
        second = await bench.send(signal(urgency=True))
        events = [await bench.event(), await bench.event()]

    assert [event["event_type"] for event in events] == ["cancelled", "filled"]
    assert [event["order"]["signal_id"] for event in events] == [first, second]


async def test_two_signals_within_the_placement_latency_run_side_by_side(empty_database_url, amqp_url):
    slow = OrderManagerSettings(placement_latency_s=0.2, fill_latency_s=0.01, poll_interval_s=0.05)
    async with (
        bench_at(empty_database_url, amqp_url) as bench,
        running(empty_database_url, amqp_url, bench, slow),
    ):
        sent = {await bench.send(signal(urgency=True)), await bench.send(signal(urgency=True))}
        events = [await bench.event(), await bench.event()]

    assert {event["order"]["signal_id"] for event in events} == sent
    assert {event["event_type"] for event in events} == {"filled"}


async def test_a_restart_finds_wallet_position_and_resting_order_again(empty_database_url, amqp_url):
    async with bench_at(empty_database_url, amqp_url) as bench:
        async with running(empty_database_url, amqp_url, bench):
            await bench.send(signal("buy", 500.0, urgency=True))
            await bench.event()
            await bench.send(signal())
            await bench.until_orders(1, "pending")
            before = await bench.wallet()

        async with running(empty_database_url, amqp_url, bench):
            after = await bench.wallet()
            await bench.send(signal("sell", 900.0, urgency=True))
            events = [await bench.event(), await bench.event()]

    assert (after["wallet_balance"], after["frozen"]) == (before["wallet_balance"], before["frozen"])
    assert [event["event_type"] for event in events] == ["cancelled", "filled"]
    assert events[1]["order"]["quantity"] == "0.00500000"  # reduce-only: cut to the long of before


async def test_lost_database_connections_delay_a_signal_but_do_not_lose_it(bench):
    await bench.send(signal("buy", 500.0, urgency=True))
    bought = await bench.event()

    await bench.database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await bench.send(signal("sell", 460.1, urgency=True))
    sold = await bench.event()

    assert [bought["event_type"], sold["event_type"]] == ["filled", "filled"]
    assert sold["order"]["quantity"] == "0.00500000"
    assert len(await bench.orders("filled")) == 2


async def test_signals_sent_while_the_broker_is_out_of_reach_are_executed_afterwards(
    empty_database_url, amqp_url
):
    cable = Cable(amqp_url)
    async with bench_at(empty_database_url, amqp_url) as bench:
        early = await bench.send(signal("buy", 500.0, urgency=True))
        order_manager = OrderManager(
            database_url=empty_database_url, amqp_url=cable.url, market=bench.market, settings=SETTINGS
        )
        task = asyncio.create_task(order_manager.run())
        await eventually(lambda: bench.database.fetchval(_INSTRUMENTS_EXIST), bool)
        await cable.plug()
        first = await bench.event()
        await cable.unplug()
        await eventually(_value(order_manager.ready.is_set), lambda ready: not ready)
        late = await bench.send(signal("sell", 460.1, urgency=True))
        await cable.plug()
        second = await bench.event()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await cable.unplug()

        orders = await bench.orders()

    assert [event["order"]["signal_id"] for event in (first, second)] == [early, late]
    assert [row["status"] for row in orders] == ["filled", "filled"]


async def test_an_order_that_was_placed_when_the_broker_went_is_announced_once_it_is_back(
    empty_database_url, amqp_url
):
    cable = Cable(amqp_url)
    await cable.plug()
    async with (
        bench_at(empty_database_url, amqp_url) as bench,
        running(empty_database_url, cable.url, bench) as order_manager,
    ):
        resting = await bench.send(signal())
        await bench.until_orders(1, "pending")
        await cable.unplug()
        bench.market.mid = 91900.0
        await bench.until_orders(1, "filled")
        assert not order_manager.ready.is_set()
        await cable.plug()
        event = await bench.event()
    await cable.unplug()

    assert (event["event_type"], event["order"]["signal_id"]) == ("filled", resting)


async def test_balances_stay_fresh_while_nothing_happens(bench):
    first = await bench.wallet()

    last = await eventually(bench.wallet, lambda row: row["id"] > first["id"])

    assert last["received_at"] > first["received_at"]
    assert last["available_balance"] == Decimal(100_000)
    assert await bench.database.fetchval("SELECT count(*) FROM instrument_info") > 0


async def test_without_a_price_a_market_order_stays_pending_until_there_is_one(empty_database_url, amqp_url):
    async with (
        bench_at(empty_database_url, amqp_url, price=None) as bench,
        running(empty_database_url, amqp_url, bench),
    ):
        await bench.send(signal(urgency=True))
        await bench.until_orders(1, "pending")

        bench.market.mid = 92000.0
        event = await bench.event()

    assert event["event_type"] == "filled"


@pytest.mark.parametrize("is_exit", [False, True])
async def test_the_next_release_closes_an_opposite_position_and_still_places_the_order(
    empty_database_url, amqp_url, is_exit
):
    settings = OrderManagerSettings(
        placement_latency_s=0.01, fill_latency_s=0.01, poll_interval_s=0.05, next_release=True
    )
    async with (
        bench_at(empty_database_url, amqp_url) as bench,
        running(empty_database_url, amqp_url, bench, settings),
    ):
        await bench.send(signal("buy", 500.0, urgency=True))
        await bench.event()
        sell = signal("sell", 460.1)
        await bench.send({**sell, "metadata": {"urgency": True, "exit_strategy": is_exit}})
        await bench.event()
        if not is_exit:
            await bench.event()

        sides = [row["side"] for row in await bench.orders("filled")]

    assert sides == (["Buy", "SELL"] if is_exit else ["Buy", "SELL", "SELL"])


@pytest.mark.parametrize(("price", "takes"), [(95000.0, True), (90100.0, True), (93000.0, False)])
async def test_the_next_release_takes_profit_and_stops_by_itself(empty_database_url, amqp_url, price, takes):
    settings = OrderManagerSettings(
        placement_latency_s=0.01, fill_latency_s=0.01, poll_interval_s=0.02, next_release=True
    )
    async with (
        bench_at(empty_database_url, amqp_url) as bench,
        running(empty_database_url, amqp_url, bench, settings),
    ):
        await bench.send(signal("buy", 500.0, urgency=True))
        await bench.event()
        bench.market.mid = price
        rested = await bench.send(signal(asset="ETHUSDT", market_data_snapshot={"price": price, "spread": 1}))
        events: list[dict[str, Any]] = [await bench.event()] if takes else []
        await eventually(
            lambda: bench.orders("pending"), lambda found: rested in {str(row["signal_id"]) for row in found}
        )

    assert [event["order"]["side"] for event in events] == (["SELL"] if takes else [])
