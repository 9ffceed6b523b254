"""Services are killed, frozen, stopped, and started in every order: others go on, nothing is done twice."""

import asyncio
import itertools
import random
import time

import pytest
from tests.faults.struck_fleet import IN_FULL

from sandbox import faults
from sandbox.faults import BROKER, DATABASE

STOP_BUDGETS_S = {"inference": 20, "exit_strategy": 20, "api": 20, "trainer": 60}
SEED = 8
ORDERS = list(itertools.permutations((BROKER, DATABASE, "sandbox-position_manager")))
FROZEN = ("inference", "exit_strategy") if IN_FULL else ("inference",)


@pytest.mark.parametrize("service", ["inference", "exit_strategy", "trainer", "api"])
async def test_a_killed_service_is_back_and_trading_went_on(fleet, findings, service):
    async with faults.process_killed(fleet.ground, service):
        others_s = await fleet.trades()
    ready_s = await fleet.all_ready()

    findings.measured(f"{service} killed", held=0, ready=ready_s, trading=others_s)


@pytest.mark.parametrize("service", FROZEN)
async def test_a_frozen_service_that_thaws_knows_nothing_and_does_no_harm(fleet, findings, service):
    async with faults.process_frozen(fleet.ground, service):
        trading_s = await fleet.trades()
        await asyncio.sleep(20 - trading_s)
    ready_s = await fleet.all_ready()

    findings.measured(f"{service} frozen", held=20, ready=ready_s, trading=trading_s)


@pytest.mark.parametrize(("service", "budget_s"), STOP_BUDGETS_S.items())
async def test_a_service_that_is_asked_to_stop_at_any_moment_does_within_its_budget(
    fleet, findings, service, budget_s
):
    dice = random.Random(f"{SEED} {service}")
    slowest_s = 0.0
    for _ in range(3):
        await asyncio.sleep(dice.uniform(0.0, 1.5))
        began = time.monotonic()
        await fleet.stop(service)
        slowest_s = max(slowest_s, time.monotonic() - began)
        await fleet.start(service)

    findings.measured(f"{service} asked to stop", stopped=slowest_s)
    assert slowest_s < budget_s


async def test_a_rolling_restart_stops_nobody_from_trading(fleet, findings):
    longest_s = 0.0
    for service in ("inference", "inference-2", "exit_strategy", "exit_strategy-2"):
        await fleet.stop(service)
        longest_s = max(longest_s, await fleet.trades())
        await fleet.start(service)
        await fleet.all_ready()

    findings.measured("rolling restart", trading=longest_s)


@pytest.mark.parametrize("order", ORDERS if IN_FULL else ORDERS[1::4], ids="-".join)
async def test_services_wait_for_what_they_need_in_whatever_order_it_comes(fleet, findings, order):
    services = ("inference", "exit_strategy", "api")
    for service in services:
        await fleet.stop(service)
    await fleet.stop("sandbox-position_manager")
    for line in fleet.lines.values():
        line.cut()
    for service in services:
        await fleet.start(service)
    async with asyncio.timeout(60):
        while await fleet.alive(services):
            await asyncio.sleep(0.1)
    processes = [fleet.pid(each) for each in services]

    for needed in order:
        statuses = [await fleet.status(each) for each in services if needed in (BROKER, DATABASE)]
        assert 200 not in statuses
        if needed in fleet.lines:
            fleet.lines[needed].mend()
        else:
            await fleet.start(needed)
    ready_s = await fleet.all_ready()

    findings.measured("start: " + ", ".join(order), ready=ready_s)
    assert [fleet.pid(each) for each in services] == processes


async def test_exits_that_fall_due_while_nobody_executes_close_each_position_once(fleet, findings):
    held = {
        row["asset"]: abs(row["size"])
        for row in await fleet.until("SELECT asset, size FROM positions WHERE size <> 0")
    }
    await _state(fleet, "HALTED")
    [asked] = await fleet.rows("SELECT now() AS at")
    async with faults.neighbour_stopped(fleet.ground, "sandbox-order_manager"):
        for symbol in held:
            answer = await fleet.api.post(
                f"/api/v1/positions/{symbol}/close", json={"reason": "tried", "actor": "test"}
            )
            assert answer.is_success, answer.text
        await asyncio.sleep(15)
    began = time.monotonic()
    for symbol in held:
        await fleet.until("SELECT 1 FROM positions WHERE asset = $1 AND size = 0", symbol)
    closed_s = time.monotonic() - began
    await asyncio.sleep(2)

    filled = await fleet.rows(
        "SELECT o.asset, sum(o.filled_quantity) AS quantity"
        " FROM orders o JOIN signal_outbox s USING (signal_id)"
        " WHERE s.kind = 'exit' AND s.created_at > $1 GROUP BY o.asset",
        asked["at"],
    )
    findings.measured("Order Manager away, exits due", held=15, closed=closed_s)
    assert {row["asset"]: row["quantity"] for row in filled} == held
    assert await fleet.rows("SELECT 1 FROM positions WHERE size <> 0") == []
    await _state(fleet, "ACTIVE")


async def _state(fleet, state):
    answer = await fleet.api.put(
        "/api/v1/trading-states/fleet", json={"state": state, "reason": "tried", "actor": "test"}
    )
    assert answer.is_success, answer.text
