"""What could cost money when neighbours, models or the database do not behave: each ends without an order."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import aio_pika
import pytest
from pydantic import SecretStr
from sqlalchemy import event
from structlog.testing import capture_logs
from tests.integration.platform_rows import Platform, flat_position_manager
from tests.integration.registered_models import Registry
from tests.integration.test_inference_worker import (
    RISING,
    Held,
    NoModels,
    Same,
    feed,
    limits,
    policy,
    replica,
    signals_on_the_wire,
    skips,
    vector,
)
from tests.integration.test_order_manager import bench_at, eventually, running
from tests.integration.test_order_manager import signal as order_manager_signal
from tests.integration.test_service_processes import answer, process
from tests.unit.inference.cases import case, proposal, situation
from tests.unit.inference.cases import vector as vector_of

from common import bus
from common.database import create_engine
from common.messages import encode_signal
from common.settings import DatabaseSettings
from common.signal_outbox import Fate
from inference import models as served
from inference.core.decide import Signal, decide
from inference.core.snapshot import snapshot_of
from inference.events import Event
from inference.models import ServedModels
from sandbox.order_desk import OrderManagerSettings

HALT = "INSERT INTO trading_states VALUES ('fleet', $1, 'me', 'now', now())"


@pytest.fixture
async def platform(database_url):
    rows = Platform(database_url)
    await rows.open()
    return rows


@pytest.fixture
async def engine(database_url):
    made = create_engine(
        DatabaseSettings(database_url=SecretStr(database_url), database_statement_timeout_ms=2000),
        application="test",
    )
    yield made
    await made.dispose()


@pytest.fixture
async def models(engine, tmp_path):
    registry = Registry(engine, tmp_path)
    await registry.activate(await registry.train())
    loaded = ServedModels(("momentum",), registry.store, engine)
    await loaded.refresh()
    return loaded


async def outcome_of(platform, worker):
    await skips(worker, platform)
    [row] = await platform.rows("SELECT reason, version, facts::text AS facts FROM latest_outcomes")
    return row


# Orders


@pytest.mark.parametrize("next_release", [False, True])
async def test_a_sell_of_what_is_held_opens_no_short_whatever_the_order_manager_does_by_itself(
    empty_database_url, amqp_url, next_release
):
    held, price = Decimal("0.005"), 92011.4
    moved = vector_of(mid_price=price)
    sells = decide(
        case(
            vector=moved,
            snapshot=snapshot_of(moved),
            proposal=proposal("sell", requested="900"),
            situation=situation(live_size=held),
        )
    )
    assert isinstance(sells, Signal)
    settings = OrderManagerSettings(
        placement_latency_s=0.01, fill_latency_s=0.01, poll_interval_s=0.05, next_release=next_release
    )

    async with (
        bench_at(empty_database_url, amqp_url) as bench,
        running(empty_database_url, amqp_url, bench, settings),
    ):
        await bench.send(order_manager_signal("buy", 500.0, urgency=True))
        await bench.event()
        await bench.send(encode_signal(sells.message))
        await bench.event()
        # Whatever else would still be placed is filled before this one rests.
        await bench.send(order_manager_signal("buy", 20.0, asset="ETHUSDT"))
        await eventually(
            bench.orders, lambda rows: [r["asset"] for r in rows if r["status"] == "pending"] == ["ETHUSDT"]
        )
        filled = await bench.orders("filled")

    assert [row["side"] for row in filled] == ["Buy", "SELL"]
    assert filled[1]["filled_quantity"] <= held


async def test_the_order_managers_own_balance_check_refuses_nothing(database_url, amqp_url, platform):
    symbols = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "LTCUSDT")
    await platform.execute("DELETE FROM account_balances")
    settings = OrderManagerSettings(
        starting_balance_quote=Decimal(700),
        placement_latency_s=0.02,
        fill_latency_s=0.02,
        poll_interval_s=0.05,
        heartbeat_interval_s=0.1,
    )
    configured = policy(limits=limits(max_position_ratio=Decimal(1), in_flight_timeout_s=3))
    held = Held(booked_at=datetime.now(UTC) + timedelta(hours=1))

    async with (
        bench_at(database_url, amqp_url, price=1000.0) as bench,
        running(database_url, amqp_url, bench, settings),
        replica(database_url, amqp_url, configured, "replica-1", held) as one,
        replica(database_url, amqp_url, configured, "replica-2", held) as two,
    ):

        async def pressed():
            await asyncio.gather(
                *(feed(each, symbol=symbol, price=1000.0) for each in (one, two) for symbol in symbols)
            )
            for each in (one, two):
                await each._outcomes.flush(each._admission._engine)
            poor = "SELECT symbol FROM latest_outcomes WHERE reason = 'balance_too_small'"
            return {row["symbol"] for row in await platform.rows(poor)}

        await eventually(pressed, lambda poor: poor == set(symbols))
        await eventually(lambda: bench.orders("pending"), lambda pending: not pending)
        orders = await bench.orders()

    assert {row["status"] for row in orders} == {"filled"}
    assert len(orders) >= 4
    spent = sum(row["filled_quantity"] * row["average_price"] for row in orders)
    assert 500 < spent <= 700


@pytest.mark.parametrize(
    ("cancelled_s_ago", "sells"),
    [(5, False), (61, True)],
)
async def test_a_sell_waits_for_the_fills_of_an_order_that_was_cancelled_half_way(
    database_url, amqp_url, platform, cancelled_s_ago, sells
):
    now = datetime.now(UTC).replace(tzinfo=None)
    order_id = await platform.order("BTCUSDT", "Buy", status="cancelled", filled="0.4")
    await platform.execute(
        "UPDATE orders SET executed_at = $1, updated_at = $2 WHERE order_id = $3",
        now - timedelta(seconds=120),
        now - timedelta(seconds=cancelled_s_ago),
        order_id,
    )
    booked = Held("1", booked_at=datetime.now(UTC) - timedelta(seconds=100))

    async with replica(database_url, amqp_url, policy(), held=booked) as worker:
        await feed(worker, **RISING)

        assert ("position_unknown" in await skips(worker, platform)) != sells
    assert len(await signals_on_the_wire(amqp_url)) == sells


async def margin(platform, available, age_s=0):
    received_at = (datetime.now(UTC) - timedelta(seconds=age_s)).replace(tzinfo=None)
    await platform.execute(
        "INSERT INTO account_margin_balances (account_type, total_equity, total_wallet_balance,"
        " total_available_balance, total_initial_margin, event_timestamp, received_at)"
        " VALUES ('UNIFIED', $1, $1, $1, 0, $2, $2)",
        Decimal(available),
        received_at,
    )


async def test_a_short_entry_spends_the_newest_margin_balance_less_what_is_on_its_way(
    database_url, amqp_url, platform
):
    configured = policy(limits=limits(short_entries=True, max_position_ratio=Decimal(1)))
    await margin(platform, "90000", age_s=30)
    await margin(platform, "160", age_s=1)

    async with replica(database_url, amqp_url, configured) as worker:
        await feed(worker, **RISING)
        await feed(worker, symbol="ETHUSDT", **RISING)
        await feed(worker, symbol="SOLUSDT", **RISING)
        counted = await skips(worker, platform)

    affordable = Decimal(160) * Decimal("0.95") / Decimal("1.0015")
    sent = [signal for _, signal in await signals_on_the_wire(amqp_url)]
    assert {signal.signal_type for signal in sent} == {"sell"}
    assert sum(Decimal(repr(signal.amount)) for signal in sent) <= affordable
    assert sent[0].metadata["gates"]["balance"]["of"] == "margin"
    assert sent[0].metadata["gates"]["balance"]["available_quote"] == "160.00000000"
    assert counted["balance_too_small"] >= 1


@pytest.mark.parametrize(("age_s", "reason"), [(None, "balance_unknown"), (61, "balance_stale")])
async def test_a_short_entry_without_a_fresh_margin_balance_is_skipped_however_much_quote_is_free(
    database_url, amqp_url, platform, age_s, reason
):
    if age_s is not None:
        await margin(platform, "90000", age_s)

    async with replica(database_url, amqp_url, policy(limits=limits(short_entries=True))) as worker:
        await feed(worker, **RISING)

        assert (await skips(worker, platform))[reason] == 1
    assert await signals_on_the_wire(amqp_url) == []


# What a decision reads, and what it leaves


async def test_a_models_hold_reads_nothing(database_url, amqp_url, platform, models):
    said, held = [], Held()

    async with replica(database_url, amqp_url, policy(), held=held, models=models) as worker:
        event.listen(
            worker._admission._engine.sync_engine,
            "before_cursor_execute",
            lambda connection, cursor, statement, *rest: said.append(statement),
        )
        await feed(worker, p_down=0.2, p_flat=0.5, p_up=0.3)

        counted = {reason: n for (_, _, _, reason), n in worker._outcomes._counts.items()}
    assert counted["hold"] == 1
    assert said == []
    assert held.asked == 0


@pytest.mark.parametrize(("state", "asked"), [("HALTED", 0), ("REDUCING", 1)])
async def test_what_denies_without_a_position_spares_the_question_after_it(
    database_url, amqp_url, platform, state, asked
):
    await platform.execute(HALT, state)
    held = Held()

    async with replica(database_url, amqp_url, policy(), held=held) as worker:
        await feed(worker, **RISING)

        assert (await skips(worker, platform))[f"trading_{state.lower()}"] == 1
    assert held.asked == asked


class Silent(Held):
    """A Position Manager that takes the question and never answers."""

    async def booked(self, symbol, *, anew=False):
        self.asked += 1
        await asyncio.Event().wait()


class Announced:
    """What exits would hear of prices."""

    def __init__(self):
        self.prices = []

    def note(self, vector, snapshot):
        self.prices.append(snapshot.price)


async def test_a_silent_position_manager_holds_up_no_price_and_no_decision_for_long(
    database_url, amqp_url, platform
):
    announced, silent = Announced(), Silent()

    async with replica(database_url, amqp_url, policy(), held=silent, prices=announced) as worker:
        await worker.on_vector(vector(price=99.0, age_s=0.5), redelivered=False)
        deciding = asyncio.create_task(worker.on_vector(vector(price=100.0), redelivered=False))
        await eventually(_asked(silent), lambda asked: asked == 1)
        waiting = asyncio.create_task(worker.on_vector(vector(price=90.0), redelivered=False))
        await eventually(_asked(silent), lambda asked: 90.0 in announced.prices)
        assert not deciding.done()

        async with asyncio.timeout(4):
            await asyncio.gather(deciding, waiting)
        outcome = await outcome_of(platform, worker)

    assert announced.prices == [100.0, 90.0]
    assert outcome["reason"] == "position_unknown"
    assert "did not answer within 1 s" in outcome["facts"]


def _asked(held):
    async def read():
        return held.asked

    return read


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        ({"p_down": 0.2, "p_flat": 0.5, "p_up": 0.3}, "hold"),
        ({"p_down": 0.1, "p_flat": 0.2, "p_up": 0.7}, "trading_halted"),
        ({"p_down": 0.1, "p_flat": 0.2}, "features_missing"),
    ],
)
async def test_a_skip_that_a_model_had_a_part_in_names_its_version(
    database_url, amqp_url, platform, models, answered, reason
):
    await platform.execute(HALT, "HALTED")

    async with replica(database_url, amqp_url, policy(), models=models) as worker:
        await feed(worker, **answered)
        outcome = await outcome_of(platform, worker)

    assert (outcome["reason"], outcome["version"]) == (reason, "v1")


async def test_a_symbol_that_balances_do_not_allow_says_so(database_url, amqp_url, platform):
    async with replica(database_url, amqp_url, policy(), traded=frozenset({"ETHUSDT"})) as worker:
        await feed(worker)
        outcome = await outcome_of(platform, worker)

    assert outcome["reason"] == "not_selected"
    assert await signals_on_the_wire(amqp_url) == []


# What fails


class BrokenFor(NoModels):
    """Whatever serves one strategy raises."""

    def __init__(self, strategy_id):
        self._broken = strategy_id

    def of(self, strategy_id):
        if strategy_id == self._broken:
            raise RuntimeError("no such output")
        return super().of(strategy_id)


async def test_a_strategy_that_cannot_decide_says_why_and_holds_up_no_other(database_url, amqp_url, platform):
    configured = Same(policy(), ("broken", "momentum"))

    with capture_logs() as logged:
        async with replica(database_url, amqp_url, configured, models=BrokenFor("broken")) as worker:
            await feed(worker)
            await worker.on_vector(vector(price=101.0), redelivered=False)
            counted = await skips(worker, platform)

    [(_, signal)] = await signals_on_the_wire(amqp_url)
    assert signal.strategy_id == "momentum"
    assert counted["decision_failed"] == 2
    assert [line["reason"] for line in logged if line["event"] == Event.DECISION_FAILED] == [
        "RuntimeError: no such output"
    ]


async def test_a_vector_that_comes_again_while_the_database_is_away_is_a_skip(amqp_url):
    away = "postgresql://nobody:secret@127.0.0.1:1/nothing"
    async with replica(away, amqp_url, policy()) as worker:
        await worker.on_vector(vector(), redelivered=True)

        counted = {reason: n for (_, _, _, reason), n in worker._outcomes._counts.items()}
    assert counted == {"database_unavailable": 1}


async def test_a_database_that_only_stays_silent_is_a_skip_as_well(database_url, amqp_url, monkeypatch):
    async with replica(database_url, amqp_url, policy()) as worker:

        def connect():
            raise TimeoutError  # as asyncpg does: it says nothing

        monkeypatch.setattr(worker._admission, "_engine", SimpleNamespace(connect=connect))
        await feed(worker)

        [outcome] = worker._outcomes._latest.values()
    assert outcome.reason == "database_unavailable"
    assert outcome.facts["error"] == "TimeoutError"


async def test_a_signal_stands_in_the_database_before_anybody_can_see_it(
    database_url, amqp_url, platform, monkeypatch
):
    publish, found = bus.publish, []

    async def looking_first(*arguments, message_id, **options):
        found.extend(await platform.rows("SELECT state FROM signal_outbox WHERE signal_id = $1", message_id))
        await publish(*arguments, message_id=message_id, **options)
        await platform.execute("ALTER TABLE trading_signals RENAME TO trading_signals_away")

    async with replica(database_url, amqp_url, policy()) as worker:
        monkeypatch.setattr(bus, "publish", looking_first)
        await feed(worker)
        monkeypatch.undo()
        [(_, sent)] = await signals_on_the_wire(amqp_url)
        unrecorded = await platform.rows("SELECT state FROM signal_outbox")

        await platform.execute("ALTER TABLE trading_signals_away RENAME TO trading_signals")
        await platform.order("BTCUSDT", "Buy", signal_id=sent.signal_id)
        await platform.execute("UPDATE signal_outbox SET lease_until = now() - interval '1 second'")
        await worker._outbox.relay("entry")

    assert found == unrecorded == [{"state": Fate.PENDING}]
    assert await platform.rows("SELECT signal_id FROM trading_signals") == [{"signal_id": sent.signal_id}]
    assert await signals_on_the_wire(amqp_url) == []


async def test_loading_a_version_does_not_hold_up_the_event_loop(engine, database_url, tmp_path, monkeypatch):
    registry, load = Registry(engine, tmp_path), served.load
    await registry.activate(await registry.train())

    def slow(*arguments):
        time.sleep(0.4)
        return load(*arguments)

    monkeypatch.setattr(served, "load", slow)
    gaps = []

    async def beat():
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    beating = asyncio.create_task(beat())
    models = ServedModels(("momentum",), registry.store, engine)
    await models.refresh()
    beating.cancel()
    with suppress(asyncio.CancelledError):
        await beating

    assert models.of("momentum").state == "serving"
    assert max(gaps) < 0.3


# Health


async def test_without_exit_workers_inference_is_degraded_and_says_so_until_one_consumes(
    database_url, amqp_url, tmp_path
):
    async def read(message):
        await message.ack()

    async with flat_position_manager() as port:
        variables = {
            "DATABASE_URL": database_url,
            "RABBITMQ_URL": amqp_url,
            "POSITION_MANAGER_PORT": str(port),
            "POSITION_CACHE_TTL_SECONDS": "7",
        }
        async with process("inference", tmp_path, **variables) as (_, url):
            alone = (await answer(f"{url}/health/ready", 200)).json()
            connection = await aio_pika.connect(amqp_url)
            async with connection:
                channel = await connection.channel()
                queue = await channel.declare_queue("position-manager.position_updated", durable=True)
                await queue.consume(read)
                beside = (await answer(f"{url}/health", 200)).json()

    assert alone["status"] == "degraded"
    assert alone["problems"]["exit_workers"] == (
        "nobody consumes position-manager.position_updated: changes of positions are seen only after"
        " POSITION_CACHE_TTL_SECONDS (7 s)"
    )
    assert "exit_workers" not in beside["problems"]
