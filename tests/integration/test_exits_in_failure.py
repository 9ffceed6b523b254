"""Exits while something is broken: workers, broker, database, neighbours, updates, the exits themselves."""

import asyncio
import json
import signal
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import aio_pika
import msgspec
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from tests.integration.exit_fleet import PATIENCE_S, announced, exit_process, ready, served
from tests.integration.test_api import running_api, until_ready

from common import topology
from common.core.ids import blind_exit_signal_id
from common.messages import PositionChanged
from sandbox.ports import free_port


async def eventually(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.05)


async def sent(fleet, body):
    await fleet.channel.default_exchange.publish(
        aio_pika.Message(body), routing_key=topology.POSITION_UPDATED.name
    )


@pytest.mark.parametrize("step", ["published", "settling", "charging"])
async def test_a_worker_killed_after_the_publish_leaves_one_exit_that_nobody_repeats(fleet, step):
    fleet.positions.book("BTCUSDT", "0.05")
    async with served(fleet.positions) as port, exit_process(fleet, port, step) as dying:
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE symbol = 'BTCUSDT'")
        await fleet.seen_until(lambda: dying.returncode is not None, "BTCUSDT", "97")
    assert dying.returncode == -signal.SIGKILL

    async with fleet.peer() as peer:
        await fleet.seen(peer, "BTCUSDT", "96")
        _, only = await fleet.signal()
        await fleet.answered(only, "filled", "0.05")
        await fleet.time_passes(20)
        await peer.outbox.expire_lapsed("exit")
        for _ in range(3):
            await peer.sweep.follow_exits()

        assert await fleet.signals() == []
    [intent] = await fleet.platform.rows("SELECT signal_id, state FROM signal_outbox")
    assert intent == {"signal_id": only.signal_id, "state": "published"}


async def test_a_worker_killed_while_it_takes_an_update_in_leaves_the_update_to_the_next(fleet):
    health = free_port()
    async with (
        served(fleet.positions) as port,
        exit_process(fleet, port, "applying", EXIT_STRATEGY_PORT=str(health)) as dying,
    ):
        await ready(health)
        await sent(fleet, json.dumps(fleet.positions.book("BTCUSDT", "0.05")).encode())
        await asyncio.wait_for(dying.wait(), PATIENCE_S)
    assert await fleet.platform.rows("SELECT 1 FROM position_lifecycles") == []
    shown = fleet.positions.rows.pop("BTCUSDT")

    async with fleet.peer(is_started=False) as peer:
        await peer.sweep.reconcile()
        assert await fleet.platform.rows("SELECT 1 FROM position_lifecycles") == []
        fleet.positions.rows["BTCUSDT"] = shown
        peer.sweep.reconciled.set()

        await fleet.until("SELECT 1 FROM position_lifecycles WHERE size = 0.05 AND closed_at IS NULL")


async def test_a_worker_killed_while_it_decides_has_decided_nothing(fleet):
    fleet.positions.book("BTCUSDT", "0.05")
    async with served(fleet.positions) as port, exit_process(fleet, port, "deciding") as dying:
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE symbol = 'BTCUSDT'")
        await fleet.seen_until(lambda: dying.returncode is not None, "BTCUSDT", "97")
    assert (await fleet.lifecycle())["latched_rule"] is None

    async with fleet.peer() as peer:
        await fleet.seen(peer, "BTCUSDT", "97")
        _, only = await fleet.signal()

    assert only.metadata["generation"] == 1


@pytest.mark.parametrize("step", ["deciding", "claimed"])
async def test_a_frozen_worker_delays_an_exit_and_adds_none_when_it_thaws(fleet, step):
    fleet.positions.book("BTCUSDT", "0.05")
    quick = {
        "EXIT_REISSUE_SECONDS": "4",
        "DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_MS": "2000",
        "DATABASE_STATEMENT_TIMEOUT_MS": "2000",
    }
    async with (
        served(fleet.positions) as port,
        exit_process(fleet, port, step, "frozen", **quick) as frozen,
    ):
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE symbol = 'BTCUSDT'")
        await fleet.seen_until(_stopped(frozen.pid), "BTCUSDT", "97")
        frozen_at = asyncio.get_running_loop().time()
        await fleet.platform.execute("UPDATE signal_outbox SET lease_until = now() - interval '1 second'")
        found = []
        async with fleet.peer(exit_reissue_seconds=4.0) as peer:

            async def is_sent():
                await peer.worker.on_price("BTCUSDT", announced("97"))
                await peer.outbox.expire_lapsed("exit")
                await peer.sweep.follow_exits()
                found.extend(await fleet.signals())
                return bool(found)

            await eventually(is_sent)
            await fleet.answered(found[0][1], "filled", "0.05")
            while asyncio.get_running_loop().time() < frozen_at + 5:
                await asyncio.sleep(0.1)
            frozen.send_signal(signal.SIGCONT)
            await fleet.seen_until(_went_on(frozen.pid), "BTCUSDT", "97")
            evaluated = await fleet.seen(peer, "BTCUSDT", "97")
            await fleet.until("SELECT 1 FROM position_lifecycles WHERE last_evaluated_at >= $1", evaluated)

        assert len(found) == 1
        assert await fleet.signals() == []


def _stopped(pid):
    return lambda: _state(pid) == "T"


def _went_on(pid):
    return lambda: _state(pid) == "S"


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_breach_while_the_broker_restarts_goes_out_once_it_is_back(fleet, broker_cable):
    async with fleet.peer(rabbitmq_url=SecretStr(broker_cable.url)) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await broker_cable.unplug()
        breach = asyncio.create_task(peer.worker.on_price("BTCUSDT", announced("97")))
        await fleet.until("SELECT 1 FROM signal_outbox WHERE state = 'pending'")
        await asyncio.sleep(0.3)
        await broker_cable.plug()

        _, only = await fleet.signal()
        await breach
        await peer.sweep.follow_exits()

        assert only.metadata["generation"] == 1
        assert await fleet.signals() == []


async def test_a_breach_while_the_broker_is_away_for_long_is_decided_anew_with_the_live_size(
    fleet, broker_cable
):
    async with fleet.peer(rabbitmq_url=SecretStr(broker_cable.url), exit_reissue_seconds=2.5) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await broker_cable.unplug()
        await peer.worker.on_price("BTCUSDT", announced("97"))
        fleet.positions.book("BTCUSDT", "0.03")
        await broker_cable.plug()

        async def is_sent():
            await peer.sweep.follow_exits()
            found.extend(await fleet.signals())
            return bool(found)

        found = []
        await eventually(is_sent)

    [(_, only)] = found
    assert (only.metadata["generation"] > 1, only.metadata["size"]) == (True, "0.03")


async def test_a_breach_while_the_database_is_down_goes_out_at_once_and_is_stored_later(
    fleet, database_cable
):
    async with fleet.peer(database_url=SecretStr(database_cable.url)) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.sweep.follow_exits()
        await database_cable.unplug()
        await peer.worker.on_price("BTCUSDT", announced("98.01"))
        assert await fleet.signals() == []
        for _ in range(3):
            await peer.worker.on_price("BTCUSDT", announced("97"))

        [(message, only)] = await fleet.signals()
        assert await peer.sweep.stops() is not None
        await database_cable.plug()
        await peer.sweep.follow_exits()
        await peer.worker.on_price("BTCUSDT", announced("96"))

        assert await fleet.signals() == []
        assert await peer.sweep.stops() is None
    near = [only.timestamp - timedelta(seconds=1), only.timestamp]
    assert only.signal_id in {blind_exit_signal_id("BTCUSDT", "long", Decimal(100), at) for at in near}
    assert (only.signal_type, only.metadata["size"], message.expiration > 10) == ("sell", "0.05", True)
    [intent] = await fleet.platform.rows("SELECT signal_id, state FROM signal_outbox")
    assert intent == {"signal_id": only.signal_id, "state": "published"}
    [logged] = await fleet.platform.rows("SELECT signal_id FROM trading_signals")
    row = await fleet.lifecycle()
    assert logged["signal_id"] == row["exit_signal_id"] == only.signal_id
    assert row["latched_rule"] == "stop_loss"


async def test_peers_without_a_database_send_the_same_exit(fleet, database_cable):
    lost = {"database_url": SecretStr(database_cable.url)}
    async with fleet.peer("exit-1", **lost) as one, fleet.peer("exit-2", **lost) as other:
        await fleet.updated("BTCUSDT", "-0.05")
        await asyncio.gather(*(peer.sweep.follow_exits() for peer in (one, other)))
        await database_cable.unplug()
        while datetime.now(UTC).timestamp() % 15 > 14:
            await asyncio.sleep(0.05)
        await asyncio.gather(*(peer.worker.on_price("BTCUSDT", announced("103")) for peer in (one, other)))
        found = await fleet.signals()
        await database_cable.plug()
        await asyncio.gather(*(peer.sweep.follow_exits() for peer in (one, other)))

    assert len({found_signal.signal_id for _, found_signal in found}) == 1
    assert {found_signal.signal_type for _, found_signal in found} == {"buy"}
    assert len(await fleet.platform.rows("SELECT 1 FROM signal_outbox")) == 1


async def test_without_database_and_position_manager_a_position_gets_one_exit(fleet, database_cable):
    async with fleet.peer(database_url=SecretStr(database_cable.url), exit_reissue_seconds=2.2) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.sweep.follow_exits()
        await database_cable.unplug()
        fleet.positions.is_down = True
        await peer.worker.on_price("BTCUSDT", announced("97"))
        assert len(await fleet.signals()) == 1
        until = asyncio.get_running_loop().time() + 2.5
        while asyncio.get_running_loop().time() < until:
            await peer.worker.on_price("BTCUSDT", announced("97"))
            await asyncio.sleep(0.1)

        assert await fleet.signals() == []
        await database_cable.plug()


async def test_a_position_that_is_gone_gets_no_exit_while_the_database_is_down(fleet, database_cable):
    async with fleet.peer(database_url=SecretStr(database_cable.url)) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.sweep.follow_exits()
        await database_cable.unplug()
        del fleet.positions.rows["BTCUSDT"]

        await peer.worker.on_price("BTCUSDT", announced("97"))

        assert await fleet.signals() == []
        await database_cable.plug()


async def test_a_start_without_the_database_runs_the_stop_loss_on_what_the_position_manager_shows(
    fleet, database_cable
):
    fleet.positions.book("BTCUSDT", "0.05")
    await database_cable.unplug()
    async with fleet.peer(is_started=False, database_url=SecretStr(database_cable.url)) as peer:
        starting = asyncio.create_task(peer.sweep.start())
        await fleet.seen_until(peer.sweep.watching.is_set, "BTCUSDT", "99")
        assert await peer.sweep.unready() is not None
        await fleet.seen(peer, "BTCUSDT", "97")
        _, only = await fleet.signal()
        await database_cable.plug()
        async with asyncio.timeout(PATIENCE_S):
            await starting
        assert await peer.sweep.unready() is None
        await peer.worker.on_price("BTCUSDT", announced("97"))
        assert await fleet.signals() == []

    assert only.metadata["exit_reason"] == "stop_loss"
    [intent] = await fleet.platform.rows("SELECT signal_id FROM signal_outbox")
    assert intent["signal_id"] == only.signal_id


async def test_an_operator_closes_a_position_also_while_exits_by_rule_are_disabled(fleet, tmp_path):
    async with (
        fleet.peer(exit_strategy_enabled=False) as peer,
        running_api(fleet.database_url, fleet.amqp_url, tmp_path) as api,
    ):
        await until_ready(api.client)
        await fleet.updated("BTCUSDT", "0.05")
        wanted = {"actor": "olga", "reason": "exchange maintenance"}
        unknown = await api.client.post("/api/v1/positions/ETHUSDT/close", json=wanted)
        accepted = await api.client.post("/api/v1/positions/BTCUSDT/close", json=wanted)

        await peer.sweep.follow_exits()
        _, only = await fleet.signal()
        await fleet.seen(peer, "BTCUSDT", "97")
        await peer.sweep.follow_exits()

        assert await fleet.signals() == []
    assert (unknown.status_code, accepted.status_code) == (404, 202)
    row = await fleet.lifecycle()
    assert (row["latched_rule"], row["close_actor"]) == ("operator", "olga")
    assert (only.metadata["exit_reason"], only.metadata["size"]) == ("operator", "0.05")


async def test_halted_exits_hold_an_operators_close_until_they_are_released(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.platform.execute(
            "INSERT INTO trading_states (scope, state, actor, reason, changed_at)"
            " VALUES ('exits', 'HALTED', 'olga', 'test', now())"
        )
        await fleet.platform.execute(
            "UPDATE position_lifecycles SET close_requested_at = now(), close_actor = 'olga'"
        )
        await peer.sweep.follow_exits()
        await peer.sweep.follow_exits()
        assert await fleet.signals() == []

        await fleet.platform.execute("UPDATE trading_states SET state = 'ACTIVE'")
        await peer.sweep.follow_exits()

        await fleet.signal()


@pytest.mark.parametrize(
    "body",
    [
        b'{"asset": "BTCUSDT", "size": "lots", "timestamp": "2025-12-10T09:20:00Z"}',
        b'{"asset": "BTCUSDT", "size": "0.05"}',
        b'{"asset": "btcusdt", "size": "0.05", "timestamp": "2025-12-10T09:20:00Z", "x": "\\u0000',
    ],
)
async def test_an_update_that_cannot_be_read_is_kept_and_its_position_is_asked_for(fleet, body):
    async with fleet.peer():
        fleet.features.price = 97.0
        fleet.positions.book("BTCUSDT", "0.05")
        heard = await fleet.channel.declare_queue(exclusive=True)
        exchange = await fleet.channel.declare_exchange(
            topology.POSITION_CHANGED.name, aio_pika.ExchangeType.FANOUT, durable=True
        )
        await heard.bind(exchange)

        await sent(fleet, body)

        _, stop = await fleet.signal()
        [kept] = await fleet.until("SELECT symbol, body, reason FROM failed_position_updates")
        changed = msgspec.json.decode((await heard.get(no_ack=True)).body, type=PositionChanged)
    assert stop.metadata["exit_reason"] == "stop_loss"
    assert (kept["symbol"], kept["body"]) == ("BTCUSDT", body.decode())
    assert kept["reason"]
    assert (changed.symbol, changed.size) == ("BTCUSDT", Decimal("0.05"))


async def test_an_update_without_a_readable_asset_is_kept_and_the_next_one_is_taken(fleet):
    async with fleet.peer():
        await sent(fleet, b"\xff\x00 no json")
        await fleet.updated("BTCUSDT", "0.05")

        [kept] = await fleet.until("SELECT symbol, body FROM failed_position_updates")
    assert kept == {"symbol": None, "body": "\\xff\\x00 no json"}


async def test_an_update_that_raises_is_kept_and_its_position_is_asked_for(fleet):
    async with fleet.peer() as peer:

        async def broken(_):
            raise ArithmeticError("nobody expected this")

        peer.worker.on_update = broken
        update = json.dumps(fleet.positions.book("BTCUSDT", "0.05")).encode()
        await sent(fleet, update)

        [kept] = await fleet.until("SELECT symbol, body, reason FROM failed_position_updates")
        row = await fleet.lifecycle()
    assert (kept["symbol"], kept["body"].encode()) == ("BTCUSDT", update)
    assert "nobody expected this" in kept["reason"]
    assert row["size"] == Decimal("0.05")


async def test_three_refused_exits_are_an_alert_and_then_one_is_tried_each_cooldown(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.seen(peer, "BTCUSDT", "97")
        for generation in (1, 2, 3):
            _, exit_signal = await fleet.signal()
            assert exit_signal.metadata["generation"] == generation
            await fleet.answered(exit_signal, "rejected")
            await fleet.time_passes(16)
            await peer.sweep.follow_exits()
        assert await fleet.signals() == []
        await peer.sweep.watch_silence()
        assert REGISTRY.get_sample_value("flotilla_exit_refused_positions") == 1
        [alert] = await fleet.platform.rows("SELECT kind, scope, severity FROM alerts")
        assert alert == {"kind": "exits_refused", "scope": "symbol:BTCUSDT", "severity": "critical"}

        fleet.positions.book("BTCUSDT", "0.02")
        await fleet.time_passes(45)
        await peer.sweep.follow_exits()
        _, fourth = await fleet.signal()
        assert (fourth.metadata["generation"], fourth.metadata["size"]) == (4, "0.02")

        await fleet.closed("BTCUSDT")
        await fleet.until("SELECT 1 FROM alerts WHERE resolved_at IS NOT NULL")
        await peer.sweep.watch_silence()
        assert REGISTRY.get_sample_value("flotilla_exit_refused_positions") == 0


async def test_targets_are_limited_by_what_was_confirmed_and_stops_never(fleet):
    changes = {"exit_cooldown_seconds": 0, "exit_strategy_rate_limit": 1, "exit_debounce_ms": 0}
    async with fleet.peer(take_profit_partial_exit=True, **changes) as peer:
        await fleet.updated("BTCUSDT", "2")
        await fleet.seen(peer, "BTCUSDT", "103.1")
        _, half = await fleet.signal()
        await fleet.answered(half, "filled", "1")
        await fleet.updated("BTCUSDT", "1")
        at = await fleet.seen(peer, "BTCUSDT", "105.1")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE last_evaluated_at >= $1", at)
        await peer.sweep.follow_exits()
        assert await fleet.signals() == []

        await fleet.seen(peer, "BTCUSDT", "97")
        _, stop = await fleet.signal()

    assert (half.metadata["exit_reason"], stop.metadata["exit_reason"]) == ("take_profit", "stop_loss")


async def test_a_target_that_the_broker_did_not_confirm_costs_neither_limit_nor_cooldown(fleet, broker_cable):
    changes = {"exit_reissue_seconds": 2.2, "exit_strategy_rate_limit": 1, "exit_debounce_ms": 0}
    async with fleet.peer(rabbitmq_url=SecretStr(broker_cable.url), **changes) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await broker_cable.unplug()
        await peer.worker.on_price("BTCUSDT", announced("104"))
        await broker_cable.plug()

        async def is_sent():
            await peer.outbox.expire_lapsed("exit")
            await peer.sweep.follow_exits()
            found.extend(await fleet.signals())
            return bool(found)

        found = []
        await eventually(is_sent)

    [(_, only)] = found
    assert (only.metadata["exit_reason"], only.metadata["generation"] > 1) == ("take_profit", True)


async def test_halted_trading_does_not_hold_exits_and_halted_exits_do(fleet):
    halt = (
        "INSERT INTO trading_states (scope, state, actor, reason, changed_at)"
        " VALUES ($1, 'HALTED', 'olga', 'test', now())"
    )
    async with fleet.peer() as peer:
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await fleet.updated(symbol, "0.05")
        await fleet.platform.execute(halt, "fleet")
        await peer.worker.on_price("BTCUSDT", announced("97"))
        _, only = await fleet.signal()
        await fleet.platform.execute(halt, "exits")
        await peer.worker.on_price("ETHUSDT", announced("97"))
        await peer.sweep.follow_exits()

        assert await fleet.signals() == []
        row = await fleet.lifecycle("ETHUSDT")
    assert (only.symbol, row["latched_rule"]) == ("BTCUSDT", "stop_loss")


async def test_a_target_that_is_passed_for_an_instant_closes_nothing(fleet):
    async with fleet.peer(exit_debounce_ms=200) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.worker.on_price("BTCUSDT", announced("103.5"))
        await peer.worker.on_price("BTCUSDT", announced("102.5"))
        later = asyncio.get_running_loop().time() + 0.4
        while asyncio.get_running_loop().time() < later:
            await asyncio.sleep(0.05)
        assert await fleet.signals() == []

        await peer.worker.on_price("BTCUSDT", announced("103.5"))
        await peer.worker.on_price("BTCUSDT", announced("103.2"))
        _, target = await fleet.signal()

    assert target.market_data_snapshot.price == 103.2


async def test_one_wild_price_closes_nothing_and_a_crash_does(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        for step in range(10):
            await peer.worker.on_price("BTCUSDT", announced(f"100.0{step}"))
        fleet.features.price = 100.05
        await peer.worker.on_price("BTCUSDT", announced("90"))
        assert await fleet.signals() == []

        fleet.features.price = 90.2
        await peer.worker.on_price("BTCUSDT", announced("90"))

        _, stop = await fleet.signal()
    assert stop.market_data_snapshot.price == 90.2
