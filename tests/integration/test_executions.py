"""Executions against a real database and broker, and with the simulated Order Manager at the other end."""

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
from pydantic import SecretStr
from tests.integration.dying_bookkeeper import COMMIT

from common import bus, topology, trading_log
from common.alerts import recent_alerts
from common.database import create_engine
from common.messages import MarketSnapshot, OrderEvent, TradingSignal, encode_signal
from sandbox.order_desk import OrderManagerSettings
from sandbox.order_manager import OrderManager
from sandbox.platform_schema import create_platform_tables
from sandbox.ports import free_port
from trainer import fills, order_events
from trainer.executions import Executions
from trainer.order_events import OrderEventsWatch
from trainer.settings import Settings

PATIENCE_S = 15
DYING = Path(__file__).with_name("dying_bookkeeper.py")
STEPS = [str(number) for number in range(7)]
PLACED = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
GRAFANA = """
    SELECT avg(((performance->>'realized_pnl')::numeric > 0)::int) AS win_rate,
        sum((performance->>'realized_pnl')::numeric) AS pnl
    FROM execution_events WHERE strategy_id = $1
"""


class Desk:
    """The platform's tables with a hand in them, and trainers that read them."""

    def __init__(self, settings, database):
        self.settings = settings
        self.database = database
        self.engine = create_engine(settings, application="test")
        self.executions = Executions(self.engine)
        self.placed = 0

    async def signal(
        self, side="buy", *, price=100.0, symbol="BTCUSDT", strategy_id="momentum", is_exit=False
    ):
        sent = TradingSignal(
            signal_id=uuid4(),
            signal_type=side,
            symbol=symbol,
            amount=60.0,
            confidence=0.83,
            timestamp=PLACED,
            strategy_id=strategy_id,
            market_data_snapshot=MarketSnapshot(price=price, spread=0.2),
            metadata={"reduce_only": True} if is_exit else {"urgency": True},
            trace_id="t-1",
        )
        async with self.engine.begin() as connection:
            await trading_log.append_signal(connection, sent)
        return sent

    async def order(self, signal_id, side="Buy", *, filled="0.5", at="100", fees="0.05", **columns):
        """An order of 1 unit; orders are placed a second apart."""
        self.placed += 1
        moment = naive(PLACED + timedelta(seconds=self.placed))
        row = {
            "order_id": f"EX-{uuid4()}",
            "signal_id": signal_id,
            "asset": "BTCUSDT",
            "side": side,
            "order_type": "Market",
            "quantity": Decimal(1),
            "status": "partially_filled",
            "filled_quantity": Decimal(filled),
            "average_price": None if at is None else Decimal(at),
            "fees": None if fees is None else Decimal(fees),
            "created_at": moment,
            "updated_at": moment,
            **columns,
        }
        names, places = ", ".join(row), ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await self.database.execute(f"INSERT INTO orders ({names}) VALUES ({places})", *row.values())
        return row["order_id"]

    async def fill(self, order_id, *, filled, at, fees, status="filled", later_s=60):
        await self.database.execute(
            "UPDATE orders SET filled_quantity = $2, average_price = $3, fees = $4, status = $5,"
            " updated_at = $6, executed_at = $6 WHERE order_id = $1",
            order_id,
            Decimal(filled),
            Decimal(at),
            Decimal(fees),
            status,
            naive(PLACED + timedelta(seconds=later_s)),
        )

    async def traded(self, side="Buy", *, signal_side=None, **order):
        sent = await self.signal(signal_side or side.lower())
        return await self.order(sent.signal_id, side, **order)

    async def events(self):
        rows = await self.database.fetch("SELECT * FROM execution_events ORDER BY created_at, executed_at")
        return [{**row, "performance": json.loads(row["performance"])} for row in rows]

    async def pnl(self):
        return [each["performance"]["realized_pnl"] for each in await self.events()]

    async def invalid(self):
        rows = await self.database.fetch("SELECT * FROM invalid_executions ORDER BY seen_at, reason")
        return [{**row, "body": json.loads(row["body"])} for row in rows]


def naive(moment):
    return moment.astimezone(UTC).replace(tzinfo=None)


@pytest.fixture
def settings(database_url, amqp_url):
    return Settings(
        database_url=SecretStr(database_url),
        rabbitmq_url=SecretStr(amqp_url),
        database_statement_timeout_ms=5000,
    )


@pytest.fixture
async def desk(settings, database_url):
    database = await asyncpg.connect(database_url)
    await create_platform_tables(database)
    desk = Desk(settings, database)
    yield desk
    await desk.engine.dispose()
    await database.close()


# Rounds over `orders`


async def test_an_entry_and_its_exit_are_booked_with_what_they_gained(desk):
    bought = await desk.traded("Buy", filled="1", at="100", fees="0.1", status="filled")
    await desk.traded("SELL", filled="1", at="110", fees="0.11", status="filled")

    await desk.executions.look()

    entry, exit_ = await desk.events()
    assert (entry["side"], exit_["side"]) == ("buy", "sell")
    assert (entry["strategy_id"], entry["asset"]) == ("momentum", "BTCUSDT")
    assert (entry["execution_price"], entry["execution_quantity"], entry["execution_fees"]) == (
        Decimal(100),
        Decimal(1),
        Decimal("0.1"),
    )
    assert (entry["signal_price"], entry["signal_timestamp"]) == (Decimal(100), naive(PLACED))
    assert entry["executed_at"] == naive(PLACED + timedelta(seconds=1))
    assert (entry["performance"]["order_id"], entry["performance"]["realized_pnl"]) == (bought, None)
    assert exit_["performance"]["realized_pnl"] == "9.79"
    assert exit_["performance"]["return_pct"] == "9.79"
    assert not any(each["used_for_training"] or each["training_id"] for each in (entry, exit_))


async def test_grafanas_panel_counts_the_exits_alone(desk):
    for side, price in (("Buy", "100"), ("SELL", "110"), ("Buy", "100"), ("SELL", "90")):
        await desk.traded(side, filled="1", at=price, fees="0", status="filled")

    await desk.executions.look()

    shown = await desk.database.fetchrow(GRAFANA, "momentum")
    assert (shown["win_rate"], shown["pnl"]) == (Decimal("0.5"), Decimal(0))


async def test_each_part_of_an_order_is_booked_once_at_its_own_price(desk):
    order_id = await desk.traded("Buy", filled="0.2", at="100", fees="0.02")
    await desk.executions.look()
    await desk.executions.look()
    await desk.fill(order_id, filled="0.5", at="106", fees="0.053")  # 0.3 at 110

    for _ in range(2):
        await desk.executions.look()

    events = await desk.events()
    assert [(each["execution_quantity"], each["execution_price"]) for each in events] == [
        (Decimal("0.2"), Decimal(100)),
        (Decimal("0.3"), Decimal(110)),
    ]
    assert [each["execution_fees"] for each in events] == [Decimal("0.02"), Decimal("0.033")]
    assert events[1]["performance"]["position"] == "0.5"


async def test_what_was_filled_before_a_cancellation_stays_booked_and_silent_parts_are_found(desk):
    order_id = await desk.traded("Buy", filled="0.2", at="100")
    await desk.executions.look()
    await desk.fill(order_id, filled="0.4", at="100", fees="0.05", status="cancelled")

    await desk.executions.look()

    assert [each["execution_quantity"] for each in await desk.events()] == [Decimal("0.2"), Decimal("0.2")]


async def test_strategies_and_symbols_have_books_of_their_own(desk):
    mine, theirs = await desk.signal("buy"), await desk.signal("sell", strategy_id="reversal")
    await desk.order(mine.signal_id, "Buy", filled="1", at="100")
    await desk.order(theirs.signal_id, "SELL", filled="1", at="110")

    await desk.executions.look()

    assert await desk.pnl() == [None, None]
    assert [each["performance"]["position"] for each in await desk.events()] == ["1", "-1"]


async def test_an_exit_of_a_position_that_others_opened_opens_no_short_in_the_books(desk):
    sent = await desk.signal("sell", is_exit=True)
    await desk.order(sent.signal_id, "SELL", filled="1", at="100")

    await desk.executions.look()

    [event] = await desk.events()
    assert event["performance"]["realized_pnl"] is None
    assert (event["performance"]["unmatched_quantity"], event["performance"]["position"]) == ("1", "0")


async def test_orders_of_others_dry_runs_and_empty_orders_are_neither_booked_nor_invalid(desk):
    sent = await desk.signal()
    await desk.order(uuid4(), filled="0.5")
    await desk.order(sent.signal_id, filled="0.5", is_dry_run=True)
    await desk.order(sent.signal_id, filled="0", at=None, fees=None, status="cancelled")
    await desk.order(sent.signal_id, filled="0", at=None, fees=None, status="rejected")

    await desk.executions.look()

    assert (await desk.events(), await desk.invalid()) == ([], [])
    async with desk.engine.begin() as connection:
        assert await fills.foreign(connection, since=None) == 1


async def test_an_order_whose_signal_is_stored_late_is_booked_then(desk):
    await desk.traded("Buy", filled="1")  # moves the mark past the other
    late = uuid4()
    order_id = await desk.order(late, filled="0.5", updated_at=naive(PLACED))
    await desk.executions.look()
    assert len(await desk.events()) == 1
    sent = await desk.signal()
    await desk.database.execute(
        "UPDATE trading_signals SET signal_id = $1 WHERE signal_id = $2", late, sent.signal_id
    )

    await desk.executions.look()

    assert (await desk.events())[1]["performance"]["order_id"] == order_id


async def test_executions_that_the_older_service_stored_are_not_stored_again(desk):
    sent = await desk.signal()
    await desk.order(sent.signal_id, filled="1", status="filled")
    await desk.database.execute(
        "INSERT INTO execution_events (signal_id, strategy_id, asset, side, execution_price,"
        " execution_quantity, execution_fees, executed_at, signal_price, signal_timestamp, performance)"
        " VALUES ($1, 'momentum', 'BTCUSDT', 'buy', 100, 1, 0, $2, 100, $2, '{\"slippage\": 0.6}')",
        sent.signal_id,
        naive(PLACED),
    )

    await desk.executions.look()

    assert [each["performance"] for each in await desk.events()] == [{"slippage": 0.6}]


async def test_what_breaks_a_rule_is_kept_once_with_its_reason_and_harms_no_other(desk):
    broken = await desk.traded("Buy", filled="1", fees="500")
    strange = await desk.traded("SELL", signal_side="buy", filled="1")
    await desk.traded("Buy", filled="1")

    for _ in range(3):
        await desk.executions.look()

    assert len(await desk.events()) == 1
    kept = {each["order_id"]: each for each in await desk.invalid()}
    assert kept.keys() == {broken, strange}
    assert kept[broken]["reason"].startswith("fees 500.00000000 are more than the filled value 100")
    assert kept[strange]["reason"] == "side is SELL, its signal said buy"
    assert (kept[broken]["source"], kept[broken]["body"]["fees"]) == ("orders", "500.00000000")


async def test_an_order_that_is_put_right_is_booked_after_all(desk):
    order_id = await desk.traded("Buy", filled="0.5", at=None)
    await desk.executions.look()
    assert [each["reason"] for each in await desk.invalid()] == ["average_price is missing"]

    await desk.fill(order_id, filled="0.5", at="100", fees="0.05")
    await desk.executions.look()

    assert [each["execution_quantity"] for each in await desk.events()] == [Decimal("0.5")]


async def test_a_backlog_longer_than_a_page_is_booked_in_the_order_of_placing(desk, monkeypatch):
    monkeypatch.setattr(fills, "PAGE", 3)
    for number in range(8):
        await desk.traded("Buy" if number % 2 == 0 else "SELL", filled="1", at=str(100 + number), fees="0")

    await desk.executions.look()

    assert await desk.pnl() == [None, "1"] * 4


async def test_trainers_side_by_side_book_every_fill_once(desk, settings):
    for number in range(30):
        await desk.traded(
            "Buy" if number % 2 == 0 else "SELL", filled="1", at=str(100 + number % 2), fees="0"
        )
    trainers = [create_engine(settings, application=f"trainer {number}") for number in range(3)]

    await asyncio.gather(*(Executions(engine).look() for engine in trainers))

    found = await desk.pnl()
    assert (len(found), sum(map(Decimal, filter(None, found)))) == (30, Decimal(15))
    assert await desk.database.fetchval("SELECT fills FROM fill_books") == 30
    for engine in trainers:
        await engine.dispose()


async def test_a_trainer_killed_at_any_step_of_a_booking_leaves_all_of_it_or_nothing(desk, database_url):
    await desk.traded("Buy", filled="1", at="100", fees="0")
    await desk.executions.look()
    await desk.traded("SELL", filled="1", at="110", fees="0")

    for step in (*STEPS, COMMIT):
        child = await asyncio.create_subprocess_exec(
            sys.executable, DYING, step, env={**os.environ, "DATABASE_URL": database_url}
        )
        assert await asyncio.wait_for(child.wait(), PATIENCE_S) == -signal.SIGKILL, (
            f"step {step} was not reached"
        )
        assert await desk.pnl() == [None]
        assert await desk.database.fetchval("SELECT count(*) FROM booked_orders") == 1
        assert await desk.database.fetchval("SELECT fills FROM fill_books") == 1
    await desk.executions.look()

    assert await desk.pnl() == [None, "10"]
    assert await desk.database.fetchval("SELECT lots FROM fill_books") == "[]"


async def test_an_event_whose_mark_was_lost_is_not_booked_again(desk):
    await desk.traded("Buy", filled="1", at="100")
    await desk.executions.look()
    await desk.database.execute("DELETE FROM booked_orders")

    await desk.executions.look()

    assert len(await desk.events()) == 1
    assert len(json.loads(await desk.database.fetchval("SELECT lots FROM fill_books"))) == 1
    assert await desk.database.fetchval("SELECT count(*) FROM booked_orders") == 1


# Order events


def event(signal_id, *, order_id="EX-1", event_type="filled", side="Buy", filled="0.5", at="100", **changes):
    moment = naive(PLACED + timedelta(seconds=5)).isoformat()
    return {
        "event_id": str(uuid4()),
        "event_type": event_type,
        "timestamp": moment,
        "trace_id": str(uuid4()),
        "order": {
            "id": str(uuid4()),
            "order_id": order_id,
            "signal_id": str(signal_id),
            "asset": "BTCUSDT",
            "side": side,
            "order_type": "Limit",
            "quantity": "1.00000000",
            "price": None,
            "status": event_type,
            "filled_quantity": filled,
            "average_price": at,
            "fees": None,
            "created_at": moment,
            "updated_at": moment,
            "executed_at": None,
            "is_dry_run": False,
            **changes,
        },
        "execution_details": {"fill_percentage": 40.0},
        "market_conditions": {"price": 101.5, "timestamp": moment + "+00:00"},
    }


@asynccontextmanager
async def reading(settings, engine):
    """A trainer that reads the queue of order events."""
    broker = bus.create_broker(settings, service="trainer")
    order_events.subscribe(broker, Executions(engine))
    await bus.connect(broker, topology.ORDER_EVENTS)
    try:
        yield broker
    finally:
        await broker.stop()


async def publish(amqp_url, *events):
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        for each in events:
            body = each if isinstance(each, bytes) else json.dumps(each).encode()
            await channel.default_exchange.publish(
                aio_pika.Message(body, content_type="application/json"), topology.ORDER_EVENTS.name
            )


async def until(read, is_enough):
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await read()
            if is_enough(found):
                return found
            await asyncio.sleep(0.02)


async def test_events_twice_late_and_of_others_come_to_each_fill_once(desk, settings, amqp_url):
    bought, sold = await desk.signal("buy"), await desk.signal("sell")
    first = event(bought.signal_id, event_type="partially_filled", filled="0.2")
    second = event(bought.signal_id, filled="0.5")
    async with reading(settings, desk.engine):
        await publish(
            amqp_url,
            second,
            first,
            second,
            event(uuid4(), order_id="EX-2"),
            event(bought.signal_id, event_type="cancelled", filled="0E-8", at=None, order_id="EX-3"),
            event(sold.signal_id, order_id="EX-4", side="SELL", at=None),
            {"event_type": "modified", "order": {}},
        )
        await until(desk.events, lambda found: len(found) == 2)
        await until(lambda: waiting(amqp_url), lambda left: left == 0)

    assert await desk.pnl() == [None, "0.75"]  # sold for what the event saw: 101.5
    assert await desk.invalid() == []


async def waiting(amqp_url):
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(topology.ORDER_EVENTS.name, passive=True)
        return queue.declaration_result.message_count


async def test_an_event_before_its_signals_row_waits_for_it(desk):
    sent = await desk.signal()
    await desk.database.execute("UPDATE trading_signals SET signal_id = $1", uuid4())
    told = event(sent.signal_id)
    task = asyncio.create_task(desk.executions.on_event(OrderEvent(**pick(told))))
    await asyncio.sleep(0.1)

    await desk.database.execute("UPDATE trading_signals SET signal_id = $1", sent.signal_id)
    await asyncio.wait_for(task, PATIENCE_S)

    assert len(await desk.events()) == 1


def pick(told):
    return {name: told.get(name) for name in ("event_type", "order", "timestamp", "market_conditions")}


async def test_an_unreadable_order_is_kept_as_it_came(desk):
    sent = await desk.signal()
    told = event(sent.signal_id, filled="a\x00lot", order_id="x" * 200)

    await desk.executions.on_event(OrderEvent(**pick(told)))

    [kept] = await desk.invalid()
    assert (kept["source"], kept["order_id"]) == ("queue", "x" * 100)
    assert kept["body"]["filled_quantity"] == "a\ufffdlot"
    assert "order_id" in kept["reason"]


async def test_both_sources_come_to_the_same_executions(desk):
    sent = await desk.signal()
    order_id = await desk.order(sent.signal_id, filled="0.5", at="100", fees="0.05")
    await desk.executions.look()
    [stored] = await desk.events()

    await desk.executions.on_event(OrderEvent(**pick(event(sent.signal_id, order_id=order_id, fees="0.05"))))
    assert await desk.events() == [stored]
    await desk.executions.on_event(
        OrderEvent(**pick(event(sent.signal_id, order_id=order_id, filled="0.8", fees="0.08")))
    )
    await desk.fill(order_id, filled="0.8", at="100", fees="0.08")
    await desk.executions.look()

    assert [each["execution_quantity"] for each in await desk.events()] == [Decimal("0.5"), Decimal("0.3")]


async def test_a_body_that_is_no_order_event_is_a_dead_letter(desk, settings, amqp_url):
    async with reading(settings, desk.engine), await aio_pika.connect(amqp_url) as connection:
        await publish(amqp_url, b"no json", {"event_type": "filled"})
        channel = await connection.channel()
        letters = await channel.get_queue(topology.DEAD_LETTERS.name)
        reasons = []
        async with asyncio.timeout(PATIENCE_S):
            while len(reasons) < 2:
                letter = await letters.get(no_ack=True, fail=False)
                if letter is None:
                    await asyncio.sleep(0.02)
                else:
                    reasons.append(letter.headers["reason"])

    assert any("order" in reason for reason in reasons)


async def test_a_stranger_at_the_queue_is_an_alert_as_long_as_it_is_there(desk, settings, amqp_url):
    async def open_alerts():
        async with desk.engine.connect() as connection:
            return [(each.kind, each.severity) for each in await recent_alerts(connection, only_open=True)]

    async with reading(settings, desk.engine) as broker, reading(settings, desk.engine):
        watch = OrderEventsWatch(broker, desk.engine, reads=True)
        await watch.look()
        assert await open_alerts() == []  # two trainers are no strangers

        async with await aio_pika.connect(amqp_url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(topology.ORDER_EVENTS.name, durable=True)
            await queue.consume(asyncio.Queue().put)
            await watch.look()
            assert await open_alerts() == [(order_events.KIND, "critical")]

            await OrderEventsWatch(broker, desk.engine, reads=False).look()  # EXECUTION_SOURCE=orders
            assert await open_alerts() == []
            await watch.look()
            assert await open_alerts() == [(order_events.KIND, "critical")]

        async def looked():
            await watch.look()
            return await open_alerts()

        await until(looked, lambda found: found == [])


async def test_without_a_broker_the_watch_waits(settings, desk):
    broker = bus.create_broker(settings, service="trainer")

    await OrderEventsWatch(broker, desk.engine, reads=True).look()

    async with desk.engine.connect() as connection:
        assert await recent_alerts(connection) == []


# The simulated Order Manager


class FixedMarket:
    """A market whose price stands where the test puts it."""

    def __init__(self, price):
        self.mid = price

    def price(self, symbol, now):
        return self.mid

    def spread_rel(self, symbol, now):
        return 0.0002


@asynccontextmanager
async def order_manager(database_url, amqp_url, market):
    quick = OrderManagerSettings(
        placement_latency_s=0.02, fill_latency_s=0.02, poll_interval_s=0.05, heartbeat_interval_s=0.2
    )
    running = OrderManager(database_url=database_url, amqp_url=amqp_url, market=market, settings=quick)
    task = asyncio.create_task(running.run())
    try:
        await asyncio.wait_for(running.ready.wait(), PATIENCE_S)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_what_the_order_manager_traded_is_what_the_wallet_lost_or_won(desk, database_url, amqp_url):
    market = FixedMarket(100.0)

    async def wallet():
        return await desk.database.fetchval(
            "SELECT wallet_balance FROM account_balances ORDER BY received_at DESC, id DESC LIMIT 1"
        )

    async def filled():
        return await desk.database.fetchval("SELECT count(*) FROM orders WHERE status = 'filled'")

    async with order_manager(database_url, amqp_url, market), await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        start = await until(wallet, lambda found: found is not None)
        for number, (side, price) in enumerate(
            [("buy", 100.0), ("buy", 104.0), ("sell", 110.0), ("sell", 96.0), ("sell", 98.0), ("buy", 99.0)]
        ):
            market.mid = price
            sent = await desk.signal(side, price=price, symbol="SOLUSDT")
            await channel.default_exchange.publish(
                aio_pika.Message(encode_signal(sent), headers={"trace_id": "t-1"}),
                topology.TRADING_SIGNALS.name,
            )
            await until(filled, lambda found, enough=number + 1: found >= enough)
            await desk.executions.look()
        end = await wallet()

    realized = sum(Decimal(each) for each in await desk.pnl() if each is not None)
    lots = json.loads(await desk.database.fetchval("SELECT lots FROM fill_books"))
    locked = sum(Decimal(lot["value"]) for lot in lots)  # linear contracts: the notional at entry is locked
    fees = sum(Decimal(lot["fees"]) for lot in lots)
    assert len(await desk.events()) == 6
    assert start + realized - locked - fees == end
    assert await desk.invalid() == []


async def test_a_trainer_on_the_queue_books_what_the_order_manager_announces(
    desk, settings, database_url, amqp_url
):
    market = FixedMarket(100.0)
    async with (
        order_manager(database_url, amqp_url, market),
        reading(settings, desk.engine),
        await aio_pika.connect(amqp_url) as connection,
    ):
        channel = await connection.channel()
        for number, side in enumerate(("buy", "sell"), start=1):
            sent = await desk.signal(side, symbol="SOLUSDT")
            await channel.default_exchange.publish(
                aio_pika.Message(encode_signal(sent), headers={"trace_id": "t-1"}),
                topology.TRADING_SIGNALS.name,
            )
            await until(desk.events, lambda found, enough=number: len(found) >= enough)
    announced = await desk.events()

    await desk.executions.look()

    assert await desk.events() == announced
    assert announced[1]["performance"]["closed_quantity"] == announced[0]["performance"]["opened_quantity"]
    assert Decimal(announced[1]["performance"]["realized_pnl"]) < 0  # the price stood, the costs did not
    assert isinstance(announced[0]["id"], UUID)


# The service


@pytest.mark.parametrize("source", ["orders", "queue"])
async def test_a_trainer_process_books_from_the_source_that_it_was_told(
    source, desk, database_url, amqp_url, tmp_path
):
    sent = await desk.signal()
    if source == "orders":
        await desk.order(sent.signal_id)
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "RABBITMQ_URL": amqp_url,
        "TRAINER_PORT": str(free_port()),
        "TRADING_SYMBOLS": "",
        "EXECUTION_SOURCE": source,
        "MODEL_STORAGE_PATH": str(tmp_path / "models"),
        "FEATURE_SERVICE_DATASET_STORAGE_PATH": str(tmp_path / "datasets"),
    }
    with (tmp_path / "log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trainer", env=environment, stdout=log, stderr=log
        )
        try:
            if source == "queue":
                async with await aio_pika.connect(amqp_url) as connection:
                    await (await connection.channel()).declare_queue(topology.ORDER_EVENTS.name, durable=True)
                await publish(amqp_url, event(sent.signal_id))
            async with asyncio.timeout(30):
                while not (found := await desk.events()):
                    await asyncio.sleep(0.05)
        finally:
            child.terminate()
            await asyncio.wait_for(child.wait(), 30)

    assert [each["signal_id"] for each in found] == [sent.signal_id]
