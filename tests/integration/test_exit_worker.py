"""Exits on a real broker and database: closed once, closed surely, whoever dies in between."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import aio_pika
import msgspec
import pytest
from tests.integration.exit_fleet import PATIENCE_S, exit_process, served

from common import topology
from common.core.ids import exit_signal_id
from common.messages import PositionChanged
from exit_strategy.sweep import Sweep
from sandbox.core.order_rules import Malformed, validate


@pytest.mark.parametrize(("size", "price", "closes"), [("0.037", "98", "sell"), ("-0.037", "102", "buy")])
async def test_a_breach_closes_a_position_with_exactly_one_signal(fleet, size, price, closes):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", size)
        await fleet.seen(peer, "BTCUSDT", price)
        await fleet.seen(peer, "BTCUSDT", price)

        message, signal = await fleet.signal()
        await fleet.seen(peer, "BTCUSDT", price)
        evaluated = await fleet.seen(peer, "BTCUSDT", price)
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE last_evaluated_at >= $1", evaluated)
        assert await fleet.signals() == []

    read = validate(json.loads(message.body))
    row = await fleet.lifecycle()
    assert not isinstance(read, Malformed)
    assert (read.signal_type, read.urgency, read.confidence, read.price) == (closes, True, 1, Decimal(price))
    assert (read.amount_quote / read.price // Decimal("0.001")) == 37
    assert signal.signal_id == exit_signal_id(row["lifecycle_id"], "stop_loss", 0, 1) == row["exit_signal_id"]
    assert signal.metadata["exit_reason"] == row["latched_rule"] == "stop_loss"
    assert [rule["rule"] for rule in signal.metadata["rules"]] == ["stop_loss", "take_profit"]
    named = ("reduce_only", "rule_triggered", "reason", "price", "pnl_pct", "size", "live_size")
    assert [signal.metadata[name] for name in named] == [
        True,
        "stop_loss",
        "stop_loss_triggered",
        price,
        "-2",
        "0.037",
        "0.037",
    ]
    assert signal.metadata["rules"][0]["level"] == price
    assert 10 < message.expiration <= 13
    assert message.message_id == str(signal.signal_id)
    [logged] = await fleet.platform.rows("SELECT strategy_id, side FROM trading_signals")
    assert logged == {"strategy_id": "unattributed", "side": closes}


async def test_a_profit_above_the_target_closes_a_position(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.seen(peer, "BTCUSDT", "103.00")
        await fleet.seen(peer, "BTCUSDT", "103.01")

        _, signal = await fleet.signal()

    assert signal.metadata["exit_reason"] == "take_profit"
    assert signal.market_data_snapshot.price == 103.01


async def test_two_workers_that_see_the_same_breach_send_one_signal(fleet):
    async with fleet.peer("exit-1") as one, fleet.peer("exit-2") as other:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.seen(one, "BTCUSDT", "97")
        await fleet.seen(other, "BTCUSDT", "96.9")
        await fleet.signal()
        at = await fleet.seen(one, "BTCUSDT", "96.8")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE last_evaluated_at >= $1", at)
        await asyncio.gather(*(peer.sweep.follow_exits() for peer in (one, other)))

        assert await fleet.signals() == []
    assert len(await fleet.platform.rows("SELECT 1 FROM signal_outbox")) == 1


async def test_an_update_without_any_price_changes_the_size_and_evaluates_nothing(fleet):
    async with fleet.peer():
        await fleet.updated("BTCUSDT", "0.05", entry="100")
        await fleet.updated("BTCUSDT", "0.02", entry="100")

        row = await fleet.lifecycle()
        assert (row["last_evaluated_at"], row["last_price"], row["generation"]) == (None, None, 0)
        assert await fleet.signals() == []


async def test_an_update_is_announced_to_the_fleet_also_while_exits_are_disabled(fleet):
    async with fleet.peer(exit_strategy_enabled=False) as peer:
        heard = await fleet.channel.declare_queue(exclusive=True)
        exchange = await fleet.channel.declare_exchange(
            topology.POSITION_CHANGED.name, aio_pika.ExchangeType.FANOUT, durable=True
        )
        await heard.bind(exchange)

        await fleet.updated("BTCUSDT", "-0.05")
        at = await fleet.seen(peer, "BTCUSDT", "150")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE last_evaluated_at >= $1", at)

        changed = msgspec.json.decode((await heard.get(no_ack=True)).body, type=PositionChanged)
        assert (changed.symbol, changed.size) == ("BTCUSDT", Decimal("-0.05"))
        assert await fleet.signals() == []


async def test_a_rejected_exit_is_issued_again_in_time_and_a_filled_one_never(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.seen(peer, "BTCUSDT", "97")
        _, first = await fleet.signal()
        await fleet.answered(first, "rejected")
        fleet.positions.book("BTCUSDT", "0.03")

        await peer.sweep.follow_exits()
        assert await fleet.signals() == []
        await fleet.time_passes(16)
        await peer.sweep.follow_exits()

        _, second = await fleet.signal()
        assert second.signal_id != first.signal_id
        assert (second.metadata["generation"], second.metadata["size"]) == (2, "0.03")

        await fleet.answered(second, "filled", "0.03")
        for _ in range(3):
            await fleet.time_passes(3600)
            await peer.sweep.follow_exits()
        assert await fleet.signals() == []


async def test_an_exit_that_says_no_more_than_the_contract_holds_the_next_one_back_and_lets_it_go(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.seen(peer, "BTCUSDT", "97")
        _, first = await fleet.signal()
        await fleet.platform.execute("UPDATE signal_outbox SET payload = '{}'")

        await peer.sweep.follow_exits()
        assert await fleet.signals() == []
        await fleet.answered(first, "filled", "0.02")
        await peer.sweep.follow_exits()
        assert await fleet.signals() == []
        await fleet.updated("BTCUSDT", "0.03")

        _, second = await fleet.signal()
        assert second.metadata["size"] == "0.03"


@pytest.mark.parametrize("answer", ["pending", None])
async def test_an_exit_that_rests_or_vanished_is_issued_again(fleet, answer):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.seen(peer, "BTCUSDT", "97")
        _, first = await fleet.signal()
        if answer:
            await fleet.answered(first, answer)

        await fleet.time_passes(14)
        await peer.sweep.follow_exits()
        assert await fleet.signals() == []
        await fleet.time_passes(2)
        await peer.sweep.follow_exits()

        _, second = await fleet.signal()
        assert second.metadata["generation"] == 2


async def test_a_stop_follows_at_once_when_the_target_before_it_was_rejected(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.seen(peer, "BTCUSDT", "104")
        _, target = await fleet.signal()
        await fleet.seen(peer, "BTCUSDT", "97")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE latched_rule = 'stop_loss'")
        assert await fleet.signals() == []

        await fleet.answered(target, "rejected")
        await peer.sweep.follow_exits()

        _, stop = await fleet.signal()
        assert (target.metadata["exit_reason"], stop.metadata["exit_reason"]) == ("take_profit", "stop_loss")


async def test_a_big_exit_goes_in_parts_each_after_the_fill_of_the_one_before(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "20")
        await fleet.seen(peer, "BTCUSDT", "97")
        sizes = []
        for left in ("10.207", "0.414", "0"):
            _, part = await fleet.signal()
            sizes.append(Decimal(part.metadata["size"]))
            assert part.amount <= 950
            await fleet.answered(part, "filled", part.metadata["size"])
            if Decimal(left):
                await fleet.updated("BTCUSDT", left)
            else:
                await fleet.closed("BTCUSDT")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE closed_at IS NOT NULL")

        assert sum(sizes) == 20
        assert await fleet.signals() == []


async def test_a_stage_closes_its_half_then_the_rest_later(fleet):
    async with fleet.peer(take_profit_partial_exit=True, exit_cooldown_seconds=0) as peer:
        await fleet.updated("BTCUSDT", "2")
        await fleet.seen(peer, "BTCUSDT", "103.1")
        _, half = await fleet.signal()
        await fleet.answered(half, "filled", "1")
        await fleet.updated("BTCUSDT", "1")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE latched_rule IS NULL AND stage = 1")
        await fleet.seen(peer, "BTCUSDT", "104.9")
        await fleet.seen(peer, "BTCUSDT", "105.1")
        _, rest = await fleet.signal()

    assert (half.metadata["size"], half.metadata["stage"]) == ("1", 1)
    assert (rest.metadata["size"], rest.metadata["stage"]) == ("1", 2)


async def test_a_flip_closes_one_lifecycle_and_opens_another(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "1", entry="100")
        await fleet.seen(peer, "BTCUSDT", "101")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE peak_price = 101")

        await fleet.updated("BTCUSDT", "-1", entry="101")

        row = await fleet.lifecycle()
        assert (row["side"], row["peak_price"], row["entry_price"]) == ("short", 101, 101)
        assert len(await fleet.platform.rows("SELECT 1 FROM position_lifecycles")) == 2


async def test_a_close_that_is_told_late_ends_the_position_before_the_reopened_one_is_watched(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05", entry="100")
        await fleet.seen(peer, "BTCUSDT", "101")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE peak_price = 101")
        close = json.dumps(fleet.positions.book("BTCUSDT", "0E-8", None)).encode()
        fleet.positions.book("BTCUSDT", "0.05", "90")

        await fleet.channel.default_exchange.publish(
            aio_pika.Message(close), routing_key=topology.POSITION_UPDATED.name
        )
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE closed_at IS NULL AND entry_price = 90")

        row = await fleet.lifecycle()
        assert (row["peak_price"], row["generation"], row["latched_rule"]) == (90, 0, None)
        assert len(await fleet.platform.rows("SELECT 1 FROM position_lifecycles")) == 2


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("size", ["0.05", "0.02", "0.08"])
async def test_a_position_reopened_after_its_exit_was_filled_starts_anew_though_nobody_told(
    fleet, size, restarted
):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05", entry="100")
        await fleet.seen(peer, "BTCUSDT", "97")
        _, first = await fleet.signal()
        await fleet.answered(first, "filled", "0.05")
        fleet.positions.book("BTCUSDT", size, "90")
        if not restarted:
            await peer.sweep.follow_exits()
    async with fleet.peer() as peer:
        row = await fleet.lifecycle()
        assert (row["peak_price"], row["generation"], row["latched_rule"]) == (90, 0, None)
        assert await fleet.signals() == []

        await fleet.seen(peer, "BTCUSDT", "88")
        _, second = await fleet.signal()
    assert (second.metadata["generation"], second.metadata["size"]) == (1, size)


async def test_a_flip_while_the_position_manager_is_down_ends_the_position_and_opens_the_next_later(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "1", entry="100")
        fleet.positions.is_down = True
        body = json.dumps(fleet.positions.book("BTCUSDT", "-1", "101")).encode()
        await fleet.channel.default_exchange.publish(
            aio_pika.Message(body), routing_key=topology.POSITION_UPDATED.name
        )
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE closed_at IS NOT NULL")

        fleet.positions.is_down = False
        await peer.sweep.reconcile()

        assert (await fleet.lifecycle())["side"] == "short"


async def test_a_lifecycle_belongs_to_the_strategy_whose_filled_entry_opened_it(fleet):
    signal_id = uuid4()
    await fleet.platform.execute(
        "INSERT INTO trading_signals (signal_id, strategy_id, asset, side, price, timestamp)"
        " VALUES ($1, 'momentum', 'BTCUSDT', 'buy', 100, now() AT TIME ZONE 'UTC')",
        signal_id,
    )
    await fleet.platform.order("BTCUSDT", "Buy", filled="0.05", signal_id=signal_id)
    async with fleet.peer():
        await fleet.updated("BTCUSDT", "0.05")

        assert (await fleet.lifecycle())["strategy_id"] == "momentum"


async def test_a_start_adopts_what_is_open_ends_what_is_gone_and_corrects_sizes(fleet):
    async with fleet.peer():
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.updated("ETHUSDT", "-2")
    opened_at = datetime.now(UTC) - timedelta(hours=3)
    del fleet.positions.rows["BTCUSDT"]
    fleet.positions.book("ETHUSDT", "-1.5")
    fleet.positions.book("SOLUSDT", "7", entry="20", at=opened_at)

    async with fleet.peer() as peer:
        assert await peer.sweep.agreement() is None
        rows = await fleet.platform.rows(
            "SELECT symbol, side, size, entry_price, opened_at FROM position_lifecycles"
            " WHERE closed_at IS NULL ORDER BY symbol"
        )

    assert [(row["symbol"], row["side"], row["size"]) for row in rows] == [
        ("ETHUSDT", "short", Decimal("-1.5")),
        ("SOLUSDT", "long", 7),
    ]
    assert (rows[1]["entry_price"], rows[1]["opened_at"]) == (20, opened_at)


async def test_a_position_older_than_the_end_before_it_is_refused_only_while_that_is_new(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.closed("BTCUSDT")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE closed_at IS NOT NULL")
        fleet.positions.book("BTCUSDT", "0.05", at=datetime.now(UTC) - timedelta(hours=1))

        await peer.sweep.reconcile()
        assert not await fleet.platform.rows("SELECT 1 FROM position_lifecycles WHERE closed_at IS NULL")
        await fleet.platform.execute(
            "UPDATE position_lifecycles SET closed_at = closed_at - interval '11 seconds'"
        )
        await peer.sweep.reconcile()

        assert (await fleet.lifecycle())["size"] == Decimal("0.05")


async def test_a_start_goes_on_trying_whatever_the_position_manager_client_raises():
    class Failing:
        asked = 0

        async def __call__(self):
            self.asked += 1
            if self.asked == 1:
                raise ValueError("nobody expected this")

    class NoDatabase:
        is_on = False

        async def drain(self):
            return 0

        async def recall_spool(self):
            return None

    nothing = NoDatabase()
    sweep = Sweep(
        None, None, None, None, prices=None, outage=nothing, blind=nothing, silence=timedelta(seconds=30)
    )
    sweep.reconcile = failing = Failing()

    async with asyncio.timeout(PATIENCE_S):
        await sweep.start()

    assert (failing.asked, sweep.reconciled.is_set()) == (2, True)


async def test_a_start_without_the_position_manager_goes_on_with_what_is_known(fleet):
    async with fleet.peer():
        await fleet.updated("BTCUSDT", "0.05")
    fleet.positions.is_down = True

    async with fleet.peer() as peer:
        assert "503" in await peer.sweep.agreement()
        await fleet.seen(peer, "BTCUSDT", "97")
        await fleet.signal()


async def test_an_update_while_the_position_manager_is_down_still_changes_the_size(fleet):
    async with fleet.peer():
        await fleet.updated("BTCUSDT", "0.05", entry="100")
        fleet.positions.is_down = True
        await fleet.updated("BTCUSDT", "0.02", entry="77")

        row = await fleet.lifecycle()
    assert (row["size"], row["entry_price"]) == (Decimal("0.02"), 100)


async def test_a_silent_price_is_asked_for_and_closes_a_position(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.platform.execute(
            "UPDATE position_lifecycles SET opened_at = opened_at - interval '6 seconds'"
        )
        fleet.features.price = 97.5

        await peer.sweep.watch_silence()

        _, signal = await fleet.signal()
        assert signal.market_data_snapshot.price == 97.5
        assert await peer.sweep.coverage() is None


async def test_a_position_without_any_price_is_an_alarm_until_one_comes(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.platform.execute(
            "UPDATE position_lifecycles SET opened_at = opened_at - interval '31 seconds'"
        )

        await peer.sweep.watch_silence()
        assert (await peer.sweep.coverage()).startswith("no usable price: BTCUSDT for 31 s")
        [alert] = await fleet.platform.rows("SELECT * FROM alerts WHERE resolved_at IS NULL")
        assert (alert["kind"], alert["scope"]) == ("position_blind", "symbol:BTCUSDT")
        assert "deaf during a build" in alert["sentence"]
        fleet.features.price = 100.0
        await peer.sweep.watch_silence()

        assert await peer.sweep.coverage() is None
        assert await fleet.signals() == []
    assert not await fleet.platform.rows("SELECT * FROM alerts WHERE resolved_at IS NULL")


async def test_the_greatest_age_closes_a_position_without_any_price(fleet):
    async with fleet.peer(time_based_exit_enabled=True, time_based_exit_max_hours=1) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.platform.execute(
            "UPDATE position_lifecycles SET opened_at = opened_at - interval '1 hour'"
        )

        await peer.sweep.watch_silence()

        _, signal = await fleet.signal()
        assert signal.metadata["exit_reason"] == "max_hold"


async def test_an_exit_waits_until_an_entry_just_sent_is_out_of_the_way(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.platform.execute(
            "INSERT INTO signal_outbox (signal_id, kind, strategy_id, symbol, side, amount_quote, payload,"
            " trace_id, valid_until, state, owner, lease_until, published_at)"
            " VALUES ($1, 'entry', 'momentum', 'BTCUSDT', 'buy', 100, '{}', 't', now(), 'published', 'x',"
            " now(), now())",
            UUID(int=5),
        )
        await fleet.seen(peer, "BTCUSDT", "97")
        await fleet.signal()

    [gap] = await fleet.platform.rows(
        "SELECT max(created_at) - min(created_at) AS s FROM signal_outbox WHERE symbol = 'BTCUSDT'"
    )
    assert gap["s"] >= timedelta(milliseconds=190)


async def test_a_worker_killed_between_decision_and_publish_leaves_the_decision_to_the_next(fleet):
    fleet.positions.book("BTCUSDT", "0.05")
    async with served(fleet.positions) as port, exit_process(fleet, port, "claimed") as dying:
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE symbol = 'BTCUSDT'")
        await fleet.seen_until(lambda: dying.returncode is not None, "BTCUSDT", "97")

    assert await fleet.signals() == []
    assert dying.returncode == -9
    [intent] = await fleet.platform.rows("SELECT signal_id, state, payload FROM signal_outbox")
    assert intent["state"] == "pending"
    fleet.positions.book("BTCUSDT", "0.03")
    async with fleet.peer() as peer:
        await peer.sweep.follow_exits()
        assert await fleet.signals() == []
        await fleet.time_passes(11)

        assert await peer.outbox.expire_lapsed("exit") == 1
        assert await peer.outbox.expire_lapsed("exit") == 0
        await peer.sweep.follow_exits()
        assert await fleet.signals() == []  # the broker could still hold it
        await fleet.time_passes(2)
        for _ in range(3):
            await peer.sweep.follow_exits()

        _, signal = await fleet.signal()
        assert await fleet.signals() == []
    assert signal.signal_id != intent["signal_id"]
    assert (signal.metadata["generation"], signal.metadata["size"]) == (2, "0.03")


async def test_an_expired_exit_that_was_filled_after_all_is_never_issued_again(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.seen(peer, "BTCUSDT", "97")
        _, first = await fleet.signal()
        await fleet.platform.execute("UPDATE signal_outbox SET state = 'expired'")
        await fleet.answered(first, "filled", "0.05")

        await fleet.time_passes(3600)
        await peer.sweep.follow_exits()

        assert await fleet.signals() == []
