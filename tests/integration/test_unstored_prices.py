"""Prices that a worker keeps to itself for a moment, on a real database."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import pytest
from tests.integration.exit_fleet import exit_fleet

from common.core.exits.position import Price


@pytest.fixture
async def fleet(database_url, amqp_url, tmp_path):
    async with exit_fleet(database_url, amqp_url, tmp_path) as one:
        yield one


def price(value):
    return Price(value=Decimal(value), seen_at=datetime.now(UTC), source="price_seen")


async def test_figures_are_stored_in_rounds_and_what_matters_at_once(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.worker.on_price("BTCUSDT", price("100"))
        await peer.worker.on_price("BTCUSDT", price("100.02"))
        assert (await fleet.lifecycle())["last_price"] == 100

        [row] = await fleet.until("SELECT * FROM position_lifecycles WHERE last_price = 100.02")
        assert row["peak_price"] == Decimal("100.02")
        await peer.worker.on_price("BTCUSDT", price("101"))
        assert (await fleet.lifecycle())["peak_price"] == 101


async def test_a_best_price_that_was_not_stored_counts_when_the_row_is_read_again(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.worker.on_price("BTCUSDT", price("100"))
        await peer.worker.on_price("BTCUSDT", price("100.04"))
        await fleet.updated("BTCUSDT", "0.06")

        assert (await fleet.lifecycle())["peak_price"] == Decimal("100.04")


async def test_peers_store_the_same_positions_side_by_side(fleet):
    symbols = [f"SYM{number:02}USDT" for number in range(45)]
    for symbol in symbols:
        fleet.positions.book(symbol, "0.05")
    async with fleet.peer("exit-1") as one, fleet.peer("exit-2") as other:
        for value in ("100", "100.01", "100.02"):
            prices = {symbol: price(value) for symbol in symbols}
            await asyncio.gather(
                *(peer.worker.on_price(symbol, prices[symbol]) for peer in (one, other) for symbol in symbols)
            )

        await fleet.until(
            "SELECT 1 FROM position_lifecycles WHERE last_price = 100.02 HAVING count(*) = $1", len(symbols)
        )


async def test_a_stop_that_a_peer_brought_closer_fires_though_this_worker_did_not_know(fleet):
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.worker.on_price("BTCUSDT", price("100"))
        await fleet.platform.execute("UPDATE position_lifecycles SET entry_price = 103, peak_price = 103")
        await peer.worker.on_price("BTCUSDT", price("100.01"))

        _, only = await fleet.signal()

    assert only.metadata["exit_reason"] == "stop_loss"


async def test_a_breach_whose_row_could_not_be_had_in_time_is_evaluated_again_without_another_price(fleet):
    async with fleet.peer(database_statement_timeout_ms=200) as peer:
        await fleet.updated("BTCUSDT", "0.05")
        holder = await asyncpg.connect(fleet.database_url)
        async with holder.transaction():
            await holder.execute("SELECT 1 FROM position_lifecycles FOR UPDATE")
            await peer.worker.on_price("BTCUSDT", price("97"))
            assert await fleet.signals() == []
        await holder.close()

        _, only = await fleet.signal()

    assert only.metadata["exit_reason"] == "stop_loss"
