"""What a decision reads of the neighbours and the fleet, on a real database and broker."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import event
from tests.integration.platform_rows import Platform
from tests.integration.test_inference_worker import (
    FALLING,
    RISING,
    Held,
    feed,
    limits,
    policy,
    replica,
    signals_on_the_wire,
    skips,
    vector,
)

from common.background import BackgroundTasks
from common.database import create_engine
from common.position_manager import Position
from common.settings import DatabaseSettings
from common.signal_outbox import Fate
from common.ws_gateway import WsGateway, WsGatewaySettings
from inference.balances import BalanceRefresh

HALT = "INSERT INTO trading_states VALUES ('fleet', $1, 'me', 'now', now())"


@pytest.fixture
async def platform(database_url):
    rows = Platform(database_url)
    await rows.open()
    return rows


@pytest.fixture
async def worker(database_url, amqp_url, platform):
    async with replica(database_url, amqp_url, policy()) as one:
        yield one


async def facts_of(platform, worker):
    await skips(worker, platform)
    [row] = await platform.rows(
        "SELECT reason, facts::text AS facts FROM latest_outcomes WHERE outcome = 'skip'"
    )
    return row["reason"], row["facts"]


async def unfinished(platform, worker, amqp_url):
    moved = await feed(worker)
    await signals_on_the_wire(amqp_url)
    await platform.execute(
        "UPDATE signal_outbox SET state = 'pending', published_at = NULL, owner = 'dead',"
        " lease_until = now() - interval '1 second', valid_until = now() + interval '1 minute'"
    )
    await platform.execute("DELETE FROM trading_signals")
    return moved


# Who took an intent over and does not know what became of it leaves it to the relay, after the lease.
async def finished_by_the_relay(platform, worker):
    assert await platform.rows("SELECT state FROM signal_outbox") == [{"state": "pending"}]
    await platform.execute("UPDATE signal_outbox SET lease_until = now() - interval '1 second'")
    assert await worker._outbox.relay("entry") == 1


@pytest.mark.parametrize("state", ["HALTED", "REDUCING"])
@pytest.mark.parametrize("by", ["relay", "redelivery"])
async def test_an_old_entry_is_expired_and_not_sent_once_the_fleet_may_not_enter(
    worker, platform, amqp_url, state, by
):
    moved = await unfinished(platform, worker, amqp_url)
    await platform.execute(HALT, state)

    if by == "relay":
        assert await worker._outbox.relay("entry") == 1
    else:
        await worker.on_vector(moved, redelivered=True)
        await finished_by_the_relay(platform, worker)

    [intent] = await platform.rows("SELECT state, reason FROM signal_outbox")
    assert intent == {"state": "expired", "reason": f"trading state {state} before it was published"}
    assert await signals_on_the_wire(amqp_url) == []
    assert await platform.rows("SELECT 1 FROM trading_signals") == []


async def test_an_old_entry_is_not_sent_in_the_last_moment_of_its_validity(worker, platform, amqp_url):
    moved = await unfinished(platform, worker, amqp_url)
    await platform.execute("UPDATE signal_outbox SET valid_until = now() + interval '200 milliseconds'")

    await worker.on_vector(moved, redelivered=True)
    await finished_by_the_relay(platform, worker)

    [intent] = await platform.rows("SELECT state, reason FROM signal_outbox")
    assert intent == {"state": "expired", "reason": "its validity had ended"}
    assert await signals_on_the_wire(amqp_url) == []


async def test_an_entry_that_its_dead_worker_sent_is_recorded_though_its_order_shows_late(
    worker, platform, amqp_url
):
    moved = await unfinished(platform, worker, amqp_url)
    await platform.execute("UPDATE signal_outbox SET valid_until = now() - interval '10 milliseconds'")

    await worker.on_vector(moved, redelivered=True)
    [sent] = await platform.rows("SELECT signal_id, symbol, state FROM signal_outbox")
    assert sent["state"] == "pending"
    await platform.order(sent["symbol"], "Buy", signal_id=sent["signal_id"])
    await finished_by_the_relay(platform, worker)

    assert await platform.rows("SELECT state FROM signal_outbox") == [{"state": "published"}]
    [recorded] = await platform.rows("SELECT signal_id FROM trading_signals")
    assert recorded["signal_id"] == sent["signal_id"]


async def test_a_redelivered_vector_whose_order_exists_only_gets_its_record(worker, platform, amqp_url):
    moved = await unfinished(platform, worker, amqp_url)
    [intent] = await platform.rows("SELECT signal_id FROM signal_outbox")
    await platform.order("BTCUSDT", "Buy", signal_id=intent["signal_id"])
    await platform.execute(HALT, "HALTED")

    assert await worker._outbox.resume(intent["signal_id"]) is Fate.PUBLISHED
    await worker.on_vector(moved, redelivered=True)

    assert await signals_on_the_wire(amqp_url) == []
    assert len(await platform.rows("SELECT 1 FROM trading_signals")) == 1


@pytest.mark.parametrize(("sharing", "is_open"), [(("momentum",), False), (("momentum", "other"), True)])
async def test_an_open_order_of_a_strategy_on_the_same_symbol_counts(
    database_url, amqp_url, platform, sharing, is_open
):
    await platform.order("BTCUSDT", "SELL", status="partially_filled", signal_id=UUID(int=1))
    await platform.execute(
        "INSERT INTO trading_signals (signal_id, strategy_id, asset, side, price, confidence, timestamp)"
        " VALUES ($1, 'other', 'BTCUSDT', 'sell', 1, 0.5, now())",
        UUID(int=1),
    )

    async with replica(database_url, amqp_url, policy(sharing=sharing)) as worker:
        await feed(worker)
        if is_open:
            reason, facts = await facts_of(platform, worker)
            assert reason == "open_order"
            assert "partially_filled" in facts
            assert "EX-" in facts

    assert len(await signals_on_the_wire(amqp_url)) == (0 if is_open else 1)


async def fill(platform, seconds_ago):
    order_id = await platform.order("BTCUSDT", "Buy", filled="0.75")
    at = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).replace(tzinfo=None)
    await platform.execute("UPDATE orders SET executed_at = $1 WHERE order_id = $2", at, order_id)


async def test_a_sell_waits_until_the_newest_fill_is_booked(database_url, amqp_url, platform):
    await fill(platform, seconds_ago=2)
    held = Held("0.75", booked_at=datetime.now(UTC) - timedelta(seconds=3))

    async with replica(database_url, amqp_url, policy(), held=held) as worker:
        await feed(worker, **RISING)
        reason, facts = await facts_of(platform, worker)
        assert (reason, "not booked yet" in facts) == ("position_unknown", True)

        held.booked_at = datetime.now(UTC)
        await feed(worker, **RISING)

    [(_, signal)] = await signals_on_the_wire(amqp_url)
    assert (signal.signal_type, signal.amount) == ("sell", 75.0)


async def test_a_buy_asks_anew_where_what_is_remembered_lacks_the_newest_fill(
    database_url, amqp_url, platform
):
    held = Held("0.75", booked_at=datetime.now(UTC) - timedelta(seconds=3))
    async with replica(database_url, amqp_url, policy(), held=held) as worker:
        await feed(worker)
        assert held.asked_anew == 0

        await fill(platform, seconds_ago=1)
        await feed(worker)

    assert held.asked_anew == 1


async def test_nothing_is_entered_while_a_position_is_being_closed(worker, platform, amqp_url):
    await platform.execute(
        "INSERT INTO position_lifecycles (lifecycle_id, symbol, side, opened_at, strategy_id, entry_price,"
        " size, peak_price, latched_rule, latched_at, newest_event_at)"
        " VALUES ($1, 'BTCUSDT', 'long', now(), 'momentum', 90, 1, 100, 'stop_loss', now(), now())",
        uuid4(),
    )

    await feed(worker)
    await feed(worker, symbol="ETHUSDT")

    [(_, signal)] = await signals_on_the_wire(amqp_url)
    assert signal.symbol == "ETHUSDT"
    assert (await skips(worker, platform))["exit_in_flight"] == 1


async def test_other_positions_count_at_the_newest_known_price(database_url, amqp_url, platform):
    other = Position(
        symbol="ETHUSDT",
        size=Decimal(-2),
        average_entry_price=Decimal(5),
        last_updated=datetime.now(UTC),
    )
    halted_for_ether = policy(limits=limits(max_position_ratio=Decimal("0.5")))
    async with replica(database_url, amqp_url, halted_for_ether, held=Held("0.1", others=(other,))) as worker:
        await feed(worker, symbol="ETHUSDT", price=20.0, **RISING)  # a sell: only its price is learnt
        await feed(worker)

    bitcoin = [signal for _, signal in await signals_on_the_wire(amqp_url) if signal.symbol == "BTCUSDT"]
    # (10 + a) / (10 + 40 + a) = 0.5
    assert [signal.amount for signal in bitcoin] == [30.0]


@pytest.mark.parametrize(("filled", "is_free"), [("0", True), ("0.5", False)])
async def test_a_cancelled_order_that_filled_in_part_has_spent(
    database_url, amqp_url, platform, filled, is_free
):
    await platform.balance("210")
    free = policy(limits=limits(in_flight_timeout_s=0.001))
    async with replica(database_url, amqp_url, free) as worker:
        await feed(worker)
        [intent] = await platform.rows("SELECT signal_id FROM signal_outbox")
        await platform.order(
            "BTCUSDT", "Buy", status="cancelled", filled=filled, signal_id=intent["signal_id"]
        )
        before = await signals_on_the_wire(amqp_url)
        await feed(worker, symbol="ETHUSDT")

    after = await signals_on_the_wire(amqp_url)
    spent = sum(signal.amount for _, signal in before)
    free_now = 210 * 0.95 / 1.0015 - (0 if is_free else spent)
    assert all(signal.amount <= free_now for _, signal in after)
    assert is_free <= bool(after)


async def test_a_buy_reserves_only_what_it_is_paid_with(database_url, amqp_url, platform):
    await platform.execute(
        "INSERT INTO instrument_info (symbol, base_coin, quote_coin, lot_size, min_order_qty,"
        " min_order_value, price_tick_size) VALUES ('BTCUSDC', 'BTC', 'USDC', 0.001, 0.001, 5, 0.01)"
    )
    await platform.execute(
        "INSERT INTO account_balances (coin, wallet_balance, available_balance, frozen, event_timestamp,"
        " received_at) SELECT 'USDC', 150, 150, 0, event_timestamp, received_at FROM account_balances"
    )
    await platform.balance("150")
    async with replica(database_url, amqp_url, policy()) as worker:
        await feed(worker, symbol="BTCUSDT")
        await feed(worker, symbol="BTCUSDC")

    amounts = {signal.symbol: signal.amount for _, signal in await signals_on_the_wire(amqp_url)}
    assert set(amounts) == {"BTCUSDT", "BTCUSDC"}
    assert min(amounts.values()) >= 100


async def test_two_replicas_that_see_the_same_vectors_send_each_signal_once(database_url, amqp_url, platform):
    free = policy(limits=limits(in_flight_timeout_s=0.001, validity_s=60))
    async with (
        replica(database_url, amqp_url, free, "replica-1") as one,
        replica(database_url, amqp_url, free, "replica-2") as two,
    ):
        for step in range(10):
            same = [vector(f"COIN{n}USDT", 100.0 + step, at=datetime.now(UTC), **FALLING) for n in range(5)]
            await asyncio.gather(
                *(worker.on_vector(each, redelivered=False) for each in same for worker in (one, two))
            )

        sent = [signal for _, signal in await signals_on_the_wire(amqp_url)]
        recorded = await platform.rows("SELECT signal_id FROM trading_signals")
        assert len(sent) == len({signal.signal_id for signal in sent}) == len(recorded)
        assert {signal.symbol for signal in sent} == {f"COIN{n}USDT" for n in range(5)}
        for symbol in {signal.symbol for signal in sent}:
            stamps = [s.metadata["feature_timestamp"] for s in sent if s.symbol == symbol]
            assert stamps == sorted(set(stamps))


async def test_a_stale_balance_is_refreshed_once_for_the_whole_fleet(database_url, platform):
    asked = []

    def answer(request):
        asked.append((request.method, request.url.path))
        return httpx.Response(200, json={"status": "success"})

    gateway = WsGateway(WsGatewaySettings(), httpx.MockTransport(answer))
    engine = create_engine(DatabaseSettings(database_url=SecretStr(database_url)), application="test")
    replicas = [BalanceRefresh(engine, gateway) for _ in range(2)]
    try:
        async with BackgroundTasks() as tasks, asyncio.timeout(10):
            for each in replicas:
                tasks.start(each.run())
                each.want()
            while not asked or any(each._wanted.is_set() for each in replicas):
                await asyncio.sleep(0.02)
            assert asked == [("POST", "/api/v1/balances/sync")]

            await platform.execute("UPDATE rate_limits SET refilled_at = now() - interval '31 seconds'")
            replicas[0].want()
            while len(asked) < 2:
                await asyncio.sleep(0.02)
    finally:
        await gateway.aclose()
        await engine.dispose()


@pytest.mark.parametrize(("direction", "statements"), [(FALLING, 11), ({"volume_3s": 1.0}, 0)])
async def test_a_decision_costs_so_many_statements(worker, platform, direction, statements):
    await feed(worker, symbol="ETHUSDT")  # the fleet's bucket exists
    said = []
    event.listen(
        worker._admission._engine.sync_engine,
        "before_cursor_execute",
        lambda connection, cursor, statement, *rest: said.append(statement),
    )

    await feed(worker, **direction)

    assert len(said) == statements, "\n".join(said)
