"""Exits while the database is away: which stops run, what the spool keeps, and what is made up for later."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import aio_pika
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from tests.integration.exit_fleet import PATIENCE_S, announced, exit_process, served

from common import topology
from exit_strategy.events import Event


def through(cable):
    return {"database_url": SecretStr(cable.url)}


async def stored_exits(fleet):
    return await fleet.platform.rows("SELECT signal_id, state FROM signal_outbox ORDER BY created_at")


async def test_the_tightest_stop_of_a_position_holds_without_the_database(fleet, database_cable):
    trailing = {"trailing_stop_enabled": True, "take_profit_enabled": False}
    async with fleet.peer(**through(database_cable), **trailing) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.seen(peer, "BTCUSDT", "104")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE stop_price = 102.96")
        await peer.sweep.reconcile()
        await database_cable.unplug()

        await peer.worker.on_price("BTCUSDT", announced("102.97"))
        assert await fleet.signals() == []
        await peer.worker.on_price("BTCUSDT", announced("102.96"))
        [(_, only)] = await fleet.signals()
        await database_cable.plug()
        await peer.sweep.follow_exits()
        await peer.worker.on_price("BTCUSDT", announced("102"))

        assert await fleet.signals() == []
    row = await fleet.lifecycle()
    assert only.metadata["exit_reason"] == row["latched_rule"] == "kept_stop"
    assert row["exit_signal_id"] == only.signal_id
    assert row["stop_price"] == Decimal("102.96")


async def test_a_position_that_was_opened_meanwhile_is_latched_by_its_exit_once_it_is_stored(
    fleet, database_cable
):
    async with fleet.peer(**through(database_cable)) as peer:
        await database_cable.unplug()
        await peer.worker.on_price("BTCUSDT", announced("97"))
        opened_at = datetime.now(UTC) - timedelta(seconds=1)
        fleet.positions.book("BTCUSDT", "0.05", at=opened_at)
        with pytest.raises(ConnectionError):
            await peer.sweep.reconcile()
        await peer.worker.on_price("BTCUSDT", announced("97"))
        [(_, only)] = await fleet.signals()
        await database_cable.plug()

        await peer.sweep.reconcile()
        await fleet.seen(peer, "BTCUSDT", "100")
        await fleet.time_passes(14)
        await peer.sweep.follow_exits()

        assert await fleet.signals() == []
        row = await fleet.lifecycle()
        await fleet.time_passes(2)
        await peer.sweep.follow_exits()
        _, again = await fleet.signal()

    assert (row["opened_at"], row["latched_rule"], row["exit_signal_id"]) == (
        opened_at,
        "stop_loss",
        only.signal_id,
    )
    assert (again.metadata["generation"], again.metadata["exit_reason"]) == (2, "stop_loss")


async def test_a_position_that_is_opened_later_is_not_latched_by_the_exit_of_the_one_before(
    fleet, database_cable
):
    async with fleet.peer(**through(database_cable)) as peer:
        await database_cable.unplug()
        await peer.worker.on_price("BTCUSDT", announced("100"))
        fleet.positions.book("BTCUSDT", "0.05", at=datetime.now(UTC) - timedelta(seconds=1))
        with pytest.raises(ConnectionError):
            await peer.sweep.reconcile()
        await peer.worker.on_price("BTCUSDT", announced("97"))
        [(_, only)] = await fleet.signals()
        await fleet.answered(only, "filled", "0.05")
        fleet.positions.book("BTCUSDT", "0.05", at=datetime.now(UTC))
        await database_cable.plug()

        await peer.sweep.reconcile()

        assert (await fleet.lifecycle())["latched_rule"] is None


async def test_a_further_exit_needs_the_position_manager_to_show_the_size_still(fleet, database_cable):
    async with fleet.peer(**through(database_cable)) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.sweep.reconcile()
        await database_cable.unplug()
        await peer.worker.on_price("BTCUSDT", announced("97"))
        await peer.worker.on_price("BTCUSDT", announced("96.9"))
        [(_, first)] = await fleet.signals()
        known = peer.blind.known("BTCUSDT")

        peer.blind.note_exit(known, datetime.now(UTC) - timedelta(seconds=16))
        fleet.positions.book("BTCUSDT", "0.02")
        await peer.worker.on_price("BTCUSDT", announced("96.8"))
        [(_, second)] = await fleet.signals()
        peer.blind.note_exit(known, datetime.now(UTC) - timedelta(seconds=16))
        fleet.positions.book("BTCUSDT", "0E-8", None)
        del fleet.positions.rows["BTCUSDT"]
        await peer.worker.on_price("BTCUSDT", announced("96.7"))

        assert await fleet.signals() == []
        await database_cable.plug()
    assert (first.metadata["size"], second.metadata["size"]) == ("0.05", "0.02")


async def test_a_full_spool_is_an_alarm_and_loses_nothing_that_was_sent(fleet, database_cable):
    async with fleet.peer(spool_bytes=10, **through(database_cable)) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.sweep.reconcile()
        await database_cable.unplug()
        with capture_logs() as logged:
            await peer.worker.on_price("BTCUSDT", announced("97"))
        [(_, only)] = await fleet.signals()
        trouble = await peer.sweep.stops()
        await database_cable.plug()
        await peer.sweep.follow_exits()
        await peer.worker.on_price("BTCUSDT", announced("96"))

        assert await fleet.signals() == []
        assert await peer.sweep.stops() is None
    assert [each["event"] for each in logged].count(Event.SPOOL_NOT_WRITTEN) == 2
    assert "EXIT_SPOOL_PATH cannot take 2 lines" in trouble
    assert await stored_exits(fleet) == [{"signal_id": only.signal_id, "state": "published"}]
    assert (await fleet.lifecycle())["exit_signal_id"] == only.signal_id


async def test_a_spool_is_stored_by_the_next_process_once_however_often_it_is_read(fleet, database_cable):
    async with fleet.peer("exit-1", **through(database_cable)) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.sweep.reconcile()
        await database_cable.unplug()
        await peer.worker.on_price("BTCUSDT", announced("97"))
        [(_, only)] = await fleet.signals()
    spooled = (fleet.home / "exits.jsonl").read_bytes()
    assert await stored_exits(fleet) == []
    await database_cable.plug()

    for restart in range(2):
        (fleet.home / "exits.jsonl").write_bytes(spooled)
        async with fleet.peer(f"exit-{restart}", **through(database_cable)) as peer:
            await peer.worker.on_price("BTCUSDT", announced("96"))
            await peer.sweep.follow_exits()

            assert await fleet.signals() == []
        assert await stored_exits(fleet) == [{"signal_id": only.signal_id, "state": "published"}]
        assert not (fleet.home / "exits.jsonl").exists()
    [logged] = await fleet.platform.rows("SELECT signal_id FROM trading_signals")
    row = await fleet.lifecycle()
    assert logged["signal_id"] == row["exit_signal_id"] == only.signal_id
    assert row["generation"] == 1


@pytest.mark.parametrize(("step", "is_sent"), [("sending", False), ("published", True)])
async def test_a_worker_killed_while_it_sends_without_the_database_leaves_an_exit_that_is_answered_for(
    fleet, database_cable, step, is_sent
):
    fleet.positions.book("BTCUSDT", "0.05")
    async with (
        served(fleet.positions) as port,
        exit_process(fleet, port, step, DATABASE_URL=database_cable.url) as dying,
    ):
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE symbol = 'BTCUSDT'")
        await database_cable.unplug()
        await fleet.seen_until(lambda: dying.returncode is not None, "BTCUSDT", "97")
    assert len(await fleet.signals()) == is_sent
    await database_cable.plug()

    async with fleet.peer() as peer:
        [intent] = await fleet.platform.rows(
            "SELECT signal_id, state, generation FROM signal_outbox"
            " JOIN position_lifecycles ON exit_signal_id = signal_id"
        )
        assert (intent["state"], intent["generation"]) == ("pending", 1)
        await peer.sweep.follow_exits()
        assert await fleet.signals() == []  # the broker could hold it
        if is_sent:
            await fleet.platform.order("BTCUSDT", "SELL", filled="0.05", signal_id=intent["signal_id"])
        await fleet.time_passes(16)
        await peer.outbox.expire_lapsed("exit")
        await peer.sweep.follow_exits()
        found = [each.metadata["generation"] for _, each in await fleet.signals()]

    assert found == ([] if is_sent else [2])


async def test_an_update_of_the_size_counts_at_once_and_is_applied_when_the_database_is_back(
    fleet, database_cable
):
    async with fleet.peer(**through(database_cable)) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.sweep.reconcile()
        await database_cable.unplug()
        await peer.worker.on_price("BTCUSDT", announced("99"))
        update = json.dumps(fleet.positions.book("BTCUSDT", "0.02")).encode()
        await fleet.channel.default_exchange.publish(
            aio_pika.Message(update), routing_key=topology.POSITION_UPDATED.name
        )
        async with asyncio.timeout(PATIENCE_S):
            while peer.blind.known("BTCUSDT").size != Decimal("0.02"):
                await asyncio.sleep(0.02)
        fleet.positions.is_down = True

        await peer.worker.on_price("BTCUSDT", announced("97"))
        _, only = await fleet.signal()
        fleet.positions.is_down = False
        await database_cable.plug()
        await peer.sweep.reconcile()

    assert only.metadata["size"] == "0.02"
    assert (await fleet.lifecycle())["size"] == Decimal("0.02")


async def test_a_database_that_returns_while_an_exit_is_being_sent_hears_of_it_before_anybody_decides(
    fleet, database_cable
):
    async with fleet.peer(**through(database_cable)) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.sweep.reconcile()
        await database_cable.unplug()
        await peer.worker.on_price("BTCUSDT", announced("99"))
        fleet.positions.answers.clear()
        asked = fleet.positions.asked
        breach = asyncio.create_task(peer.worker.on_price("BTCUSDT", announced("97")))
        async with asyncio.timeout(PATIENCE_S):
            while fleet.positions.asked == asked:
                await asyncio.sleep(0.01)
        await database_cable.plug()
        await peer.sweep.follow_exits()
        assert await peer.sweep.stops() is None

        await peer.worker.on_price("BTCUSDT", announced("96"))
        fleet.positions.answers.set()
        await breach
        await peer.worker.on_price("BTCUSDT", announced("95"))
        await peer.sweep.follow_exits()

        [(_, only)] = await fleet.signals()
    assert await stored_exits(fleet) == [{"signal_id": only.signal_id, "state": "published"}]
    assert (await fleet.lifecycle())["exit_signal_id"] == only.signal_id
