"""A stopped fit leaves no process behind, however stubborn it is."""

import asyncio
import signal
import sys

from tests.processes import runs

from trainer import child

STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
helper = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])  # ignores it too
print(helper.pid, flush=True)
signal.pause()
"""
WILLING = "import signal; print('ready', flush=True); signal.pause()"
PARENT = """
import subprocess, sys
helper = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], stdout=subprocess.DEVNULL)
print(helper.pid, flush=True)
"""


async def started(code):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode().strip()


async def gone(pid):
    async with asyncio.timeout(10):
        while runs(pid):
            await asyncio.sleep(0.01)
    return True


async def test_a_willing_child_is_asked_to_end():
    process, _ = await started(WILLING)

    await child.stop(process, grace_s=60)

    assert process.returncode == -signal.SIGTERM


async def test_a_stubborn_child_and_what_it_started_are_killed_after_the_grace():
    process, helper = await started(STUBBORN)

    await child.stop(process, grace_s=0.2)

    assert process.returncode == -signal.SIGKILL
    assert await gone(int(helper))


async def test_what_a_child_that_has_ended_left_running_is_killed():
    process, helper = await started(PARENT)
    await process.wait()

    await child.stop(process)

    assert process.returncode == 0
    assert await gone(int(helper))


async def test_a_stop_that_is_cancelled_kills_at_once():
    process, helper = await started(STUBBORN)
    stopping = asyncio.create_task(child.stop(process, grace_s=60))
    await asyncio.sleep(0.05)

    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)

    assert await gone(process.pid)
    assert await gone(int(helper))


TALKATIVE = """
print('{"stage": "fit", "round": 1}')
print("[12:00:00] WARNING: a library says something")
print("[1, 2]")
print('{"stage": "evaluate"}')
"""


async def test_what_a_library_says_in_between_is_no_progress():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TALKATIVE, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    heard = []

    code = await child.listened(process, heard.append)

    assert (code, heard) == (0, [{"stage": "fit", "round": 1}, {"stage": "evaluate"}])
