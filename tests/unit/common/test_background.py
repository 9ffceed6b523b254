"""Periodic work: it goes on after a failure, and it ends when it is told to."""

import asyncio

from common.background import BackgroundTasks, every


async def test_a_failed_round_is_followed_by_the_next():
    rounds = []
    enough = asyncio.Event()

    async def fail():
        rounds.append(None)
        if len(rounds) == 3:
            enough.set()
        raise ValueError("not this time")

    async with BackgroundTasks() as tasks, asyncio.timeout(5):
        tasks.start(every(0.001, fail))
        await enough.wait()

    assert len(rounds) >= 3


async def test_work_ends_though_its_round_swallows_the_cancellation():
    begun = asyncio.Event()
    ended = []

    async def swallow():
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(True)

    async with asyncio.timeout(5):
        async with BackgroundTasks() as tasks:
            tasks.start(every(3600, swallow))
            await begun.wait()

    assert ended == [True]
