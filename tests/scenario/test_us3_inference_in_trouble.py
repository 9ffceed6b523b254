"""Neighbours go and come back: inference enters nothing blindly, rides through, and says why."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from tests.scenario.small_fleet import small_fleet

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENTRIES_SINCE = "SELECT signal_id FROM signal_outbox WHERE kind = 'entry' AND created_at > $1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(shared_empty_database_url, shared_amqp_url, tmp_path_factory):
    """One fleet for all: each test leaves it whole, as it found it."""
    async with small_fleet(
        shared_empty_database_url,
        shared_amqp_url,
        tmp_path_factory.mktemp("fleet"),
        POSITION_CACHE_TTL_SECONDS="0.5",
        SIGNAL_GENERATION_SKIP_IF_OPEN_ORDER="false",
        SIGNAL_IN_FLIGHT_TIMEOUT_SECONDS="1",
    ) as running:
        await running.until("SELECT 1 FROM trading_signals")
        yield running


@asynccontextmanager
async def stopped(fleet, neighbour):
    await fleet.stop(neighbour)
    try:
        yield
    finally:
        await fleet.start(neighbour)


async def test_without_the_position_manager_nothing_is_entered_and_everybody_can_see_why(fleet):
    counted = "SELECT coalesce(sum(skips), 0) FROM skip_counts WHERE reason = 'position_unknown'"
    async with stopped(fleet, "sandbox-position_manager"):
        await fleet.until("SELECT 1 FROM latest_outcomes WHERE reason = 'position_unknown'")
        blind_since = await fleet.value("SELECT now()")
        before = await fleet.value(counted)

        async with asyncio.timeout(30):
            while await fleet.value(counted) < before + 5:
                await asyncio.sleep(0.1)

        assert await fleet.rows(ENTRIES_SINCE, blind_since) == []
        [outcome] = await fleet.rows("SELECT facts FROM latest_outcomes WHERE reason = 'position_unknown'")
        assert "live_size" in json.loads(outcome["facts"])

    await fleet.until(ENTRIES_SINCE, blind_since)
    assert fleet.restarts() == 0


async def test_when_the_stream_falls_silent_rest_takes_over_until_it_is_back(fleet):
    heard = fleet.lines()
    async with stopped(fleet, "sandbox-feature_stream"):
        silent = await fleet.logged("stream silent", since=heard)
        assert silent["symbols"] == ["BTCUSDT"]
        since = await fleet.value("SELECT now()")

        await fleet.until("SELECT 1 FROM latest_outcomes WHERE feature_timestamp > $1", since)
        await fleet.until(ENTRIES_SINCE, since)

        heard = fleet.lines()

    await fleet.logged("stream back", since=heard)
    await fleet.until(ENTRIES_SINCE, await fleet.value("SELECT now()"))


async def test_a_trade_and_a_skip_can_each_be_explained_from_the_database_alone(fleet):
    [trade] = await fleet.until(
        """
        SELECT s.metadata, s.amount_quote, s.side, o.state, o.valid_until, d.status
        FROM trading_signals s
        JOIN signal_outbox o USING (signal_id)
        JOIN orders d USING (signal_id)
        WHERE o.kind = 'entry' LIMIT 1
        """
    )
    told = json.loads(trade["metadata"])

    assert {"reasoning", "feature_timestamp", "requested_amount", "amount"} <= told.keys()
    assert {"state", "in_flight", "holdings", "balance", "rate", "expiry"} <= told["gates"].keys()
    assert told["amount"] == pytest.approx(float(trade["amount_quote"]))

    [skip] = await fleet.until(
        "SELECT reason, facts, feature_timestamp, replica FROM latest_outcomes WHERE outcome = 'skip' LIMIT 1"
    )

    assert skip["reason"]
    assert isinstance(json.loads(skip["facts"]), dict)
    assert skip["replica"].startswith("inference@")
