"""What an exit is decided on: prices of several sources, none at all, sizes that others say differently."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from exit_strategy.events import Event

TIME = {"time_based_exit_enabled": True, "time_based_exit_max_hours": 1}


def divergences(of):
    return REGISTRY.get_sample_value("flotilla_exit_divergences_total", {"of": of}) or 0


async def older(fleet, seconds):
    """Every position was opened, and evaluated, so much earlier."""
    await fleet.platform.execute(
        "UPDATE position_lifecycles SET opened_at = opened_at - $1::interval,"
        " last_evaluated_at = last_evaluated_at - $1::interval",
        timedelta(seconds=seconds),
    )


async def alerts(fleet):
    return await fleet.platform.rows(
        "SELECT kind, scope, severity, sentence FROM alerts WHERE resolved_at IS NULL"
    )


@pytest.mark.parametrize(("booked", "is_flagged"), [("100.5", False), ("100.51", True)])
async def test_two_sources_that_differ_by_more_than_is_tolerated_are_flagged_and_counted(
    fleet, booked, is_flagged
):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        at = await fleet.seen(peer, "BTCUSDT", "100")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE last_evaluated_at >= $1", at)
        fleet.positions.rows["BTCUSDT"]["current_price"] = booked
        before = divergences("price")

        with capture_logs() as logged:
            await peer.sweep.reconcile()

        row = await fleet.lifecycle()
    flagged = [line for line in logged if line["event"] == Event.PRICES_DISAGREE]
    assert divergences("price") - before == is_flagged
    assert [(line["price_source"], line["other_source"]) for line in flagged] == (
        [("price_seen", "position_manager")] if is_flagged else []
    )
    assert (row["last_price"], row["price_source"]) == (100, "price_seen")


async def test_a_size_that_the_platform_shows_differently_is_counted_and_corrected(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        fleet.positions.book("BTCUSDT", "0.02")
        before = divergences("size")

        await peer.sweep.reconcile()
        await peer.sweep.reconcile()

        assert divergences("size") - before == 1
        assert (await fleet.lifecycle())["size"] == Decimal("0.02")


async def test_prices_are_asked_for_in_their_order_and_the_one_that_was_used_is_recorded(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        at = await fleet.seen(peer, "BTCUSDT", "100")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE last_evaluated_at >= $1", at)
        for symbol, answered in (("ETHUSDT", 100.1), ("SOLUSDT", None)):
            await fleet.updated(symbol, "0.05")
            fleet.positions.rows[symbol]["current_price"] = "100.2"
            fleet.features.price = answered
            await older(fleet, 6)
            await peer.sweep.watch_silence()

        rows = await fleet.platform.rows(
            "SELECT symbol, price_source, last_price FROM position_lifecycles ORDER BY symbol"
        )

    assert [tuple(row.values()) for row in rows] == [
        ("BTCUSDT", "price_seen", 100),
        ("ETHUSDT", "features_latest", Decimal("100.1")),
        ("SOLUSDT", "position_manager", Decimal("100.2")),
    ]


async def test_an_announced_price_is_preferred_again_as_soon_as_there_is_one(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await older(fleet, 6)
        fleet.features.price = 100.1
        await peer.sweep.watch_silence()
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE price_source = 'features_latest'")

        at = await fleet.seen(peer, "BTCUSDT", "101")

        [row] = await fleet.until(
            "SELECT price_source, peak_price FROM position_lifecycles WHERE last_evaluated_at >= $1", at
        )
    assert row == {"price_source": "price_seen", "peak_price": 101}


async def test_without_announced_prices_and_position_manager_the_stop_of_the_last_known_entry_holds(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await older(fleet, 6)
        fleet.positions.is_down = True
        fleet.features.price = 97.5

        await peer.sweep.reconcile()
        await peer.sweep.watch_silence()

        _, only = await fleet.signal()
        await peer.sweep.follow_exits()
        assert await fleet.signals() == []
        assert [alert["kind"] for alert in await alerts(fleet)] == ["position_manager_silent"]
    assert (only.metadata["exit_reason"], only.metadata["entry_price"]) == ("stop_loss", "100")


async def test_a_position_that_is_blind_during_a_build_names_it_and_its_age_still_closes_it(fleet):
    run_id = UUID(int=77)
    await fleet.platform.execute(
        "INSERT INTO training_runs (run_id, strategy_id, symbol, trigger, priority, state, trace_id)"
        " VALUES ($1, 'momentum', 'BTCUSDT', 'schedule', 'NORMAL', 'building', 't')",
        run_id,
    )
    async with fleet.peer(**TIME) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await older(fleet, 45)
        await peer.sweep.watch_silence()
        [alert] = await alerts(fleet)
        blind = await peer.sweep.coverage()
        assert await fleet.signals() == []

        await older(fleet, 3600)
        await peer.sweep.watch_silence()
        _, only = await fleet.signal()

    assert (alert["kind"], alert["severity"]) == ("position_blind", "critical")
    assert alert["sentence"].startswith("BTCUSDT had no usable price for 45 s: ")
    assert f"answers nothing while it builds the dataset of run {run_id}" in alert["sentence"]
    assert blind.startswith("no usable price: BTCUSDT for 45 s")
    assert only.metadata["exit_reason"] == "max_hold"


async def test_a_position_manager_that_is_silent_is_an_alarm_while_positions_are_open(fleet):
    async with fleet.peer() as peer:
        fleet.positions.is_down = True
        await peer.sweep.reconcile()
        assert await alerts(fleet) == []
        fleet.positions.is_down = False
        await fleet.updated("BTCUSDT", "0.05")

        fleet.positions.is_down = True
        for _ in range(2):
            await peer.sweep.reconcile()
        [alert] = await alerts(fleet)
        silent = await peer.sweep.agreement()
        fleet.positions.is_down = False
        await peer.sweep.reconcile()

        assert await alerts(fleet) == []
        assert await peer.sweep.agreement() is None
    assert (alert["kind"], alert["scope"], alert["severity"]) == (
        "position_manager_silent",
        "fleet",
        "critical",
    )
    assert alert["sentence"].startswith("1 open positions go on with their last known size and entry: ")
    assert "503" in silent


async def bought(fleet, *, is_ours=True, is_recorded=True, ago=timedelta(0)):
    """A filled entry of 0.05 BTC stands in `orders`."""
    signal_id = uuid4()
    if is_ours and not is_recorded:
        await fleet.platform.execute(
            "INSERT INTO signal_outbox (signal_id, kind, strategy_id, symbol, side, amount_quote, payload,"
            " trace_id, valid_until, owner, lease_until, created_at)"
            " VALUES ($1, 'entry', 'momentum', 'BTCUSDT', 'buy', 5, '{}', 't', now(), 'i', now(),"
            " now() - interval '1 minute')",
            signal_id,
        )
    elif is_ours:
        await fleet.platform.execute(
            "INSERT INTO trading_signals (signal_id, strategy_id, asset, side, price, timestamp)"
            " VALUES ($1, 'momentum', 'BTCUSDT', 'buy', 100, now() AT TIME ZONE 'UTC')",
            signal_id,
        )
    await fleet.platform.order("BTCUSDT", "Buy", filled="0.05", signal_id=signal_id)
    await fleet.platform.execute(
        "UPDATE orders SET executed_at = updated_at - $2::interval WHERE signal_id = $1", signal_id, ago
    )


BOUGHT = {
    "all of it by us": ([{}], "0.08", "0.05"),
    "all of it by us, and not recorded yet": ([{"is_recorded": False}], "0.08", "0.05"),
    "all of it by us, and the view is smaller": ([{}], "0.03", "0.03"),
    "a part of it by others": ([{}, {"is_ours": False}], "0.12", "0.12"),
    "all of it by others": ([{"is_ours": False}], "0.08", "0.08"),
    "before we were watching": ([{"ago": timedelta(hours=3)}], "0.08", "0.08"),
}


@pytest.mark.parametrize("name", BOUGHT)
async def test_an_exit_is_never_larger_than_what_we_bought_where_we_bought_it_all(fleet, name):
    fills, shown, closed = BOUGHT[name]
    for fill in fills:
        await bought(fleet, **fill)
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", shown)
        await fleet.seen(peer, "BTCUSDT", "97")

        _, only = await fleet.signal()

    assert (only.metadata["size"], only.metadata["live_size"]) == (closed, shown)


async def test_a_position_that_was_opened_again_is_closed_though_the_one_before_was_merely_gone(fleet):
    async with fleet.peer() as peer:
        await bought(fleet)
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.seen(peer, "BTCUSDT", "97")
        _, first = await fleet.signal()
        await fleet.answered(first, "filled", "0.05")
        del fleet.positions.rows["BTCUSDT"]
        await peer.sweep.reconcile()
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE closed_at > newest_event_at")

        await bought(fleet)
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.seen(peer, "BTCUSDT", "97")

        _, second = await fleet.signal()
    assert (second.metadata["size"], second.metadata["live_size"]) == ("0.05", "0.05")
    assert second.signal_id != first.signal_id
