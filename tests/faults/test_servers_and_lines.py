"""Broker, database and the lines to them fail: nobody hangs, nothing is lost, late or twice."""

import asyncio
import time
from contextlib import asynccontextmanager

import aio_pika
import asyncpg
import pytest
from tests.faults.struck_fleet import IN_FULL

from common import topology
from sandbox import faults
from sandbox.faults import BROKER, DATABASE


def line(name, spoil):
    """Makes the line to a server faulty."""

    @asynccontextmanager
    async def fault(fleet):
        spoil(fleet.lines[name])
        try:
            yield
        finally:
            fleet.lines[name].mend()

    return fault


def server(name, strike):
    """Strikes the server itself."""

    @asynccontextmanager
    async def fault(fleet):
        async with strike(fleet.ground, name):
            yield

    return fault


def late(each):
    each.delay_s = 0.3


def very_late(each):
    each.delay_s = 2.5


@asynccontextmanager
async def tables_locked(fleet):
    """Whoever writes a signal or reads one waits: the pools run full."""
    connection = await asyncpg.connect(fleet.ground.database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE trading_signals, signal_outbox IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def queue_of_signals_deleted(fleet):
    """Nobody would get a signal; whoever declares the queue again is the Order Manager, on its start."""
    await fleet.stop("sandbox-order_manager")
    async with await aio_pika.connect(fleet.ground.amqp_url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(topology.TRADING_SIGNALS.name)
    try:
        yield
    finally:
        await fleet.start("sandbox-order_manager")


# What is done, for how long in seconds; the first ones in every run, the rest where FAULTS=all is set.
FAULTS = {
    "broker killed": (server(BROKER, faults.server_killed), 1.0),
    "broker frozen": (server(BROKER, faults.server_frozen), 5.0),
    "line to the broker silent": (line(BROKER, lambda each: each.silence()), 7.0),
    "line to the broker cut within a message": (line(BROKER, lambda each: each.cut_within(3_001)), 1.0),
    "queue of signals deleted": (queue_of_signals_deleted, 5.0),
    "database killed": (server(DATABASE, faults.server_killed), 1.0),
    "database frozen": (server(DATABASE, faults.server_frozen), 5.0),
    "line to the database silent": (line(DATABASE, lambda each: each.silence()), 7.0),
    "statements take 5 s": (line(DATABASE, very_late), 6.0),
    "tables locked, pools run full": (tables_locked, 5.0),
}
MORE = {
    "connections closed by the broker": (server(BROKER, faults.connections_cut), 0.0),
    "line to the broker reset": (line(BROKER, lambda each: each.reset()), 0.0),
    "line to the broker cut": (line(BROKER, lambda each: each.cut()), 4.0),
    "line to the broker late": (line(BROKER, late), 5.0),
    "connections closed by the database": (server(DATABASE, faults.connections_cut), 0.0),
    "line to the database reset": (line(DATABASE, lambda each: each.reset()), 0.0),
    "line to the database cut": (line(DATABASE, lambda each: each.cut()), 4.0),
    "line to the database cut within a message": (line(DATABASE, lambda each: each.cut_within(3_001)), 1.0),
}
if IN_FULL:
    FAULTS |= MORE


@pytest.mark.parametrize("name", FAULTS)
async def test_the_fleet_outlives(fleet, findings, name):
    fault, hold_s = FAULTS[name]
    restarts = fleet.restarts()

    async with fault(fleet):
        silent = await fleet.alive()
        await asyncio.sleep(hold_s)
        silent += await fleet.alive()
    healed = time.monotonic()
    await fleet.decides()
    deciding_s = time.monotonic() - healed
    await fleet.all_ready()
    ready_s = time.monotonic() - healed

    findings.measured(name, held=hold_s, deciding=deciding_s, ready=ready_s)
    assert silent == []
    assert fleet.restarts() == restarts
