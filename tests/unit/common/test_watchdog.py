"""A process whose event loop hangs ends by itself; one that was only frozen goes on."""

import os
import signal
import subprocess
import sys
import time

SOURCE = """
import asyncio, sys, time
from common.watchdog import Watchdog

async def main():
    async with Watchdog(tick_s=0.1, limit_ticks=10):
        print("watching", flush=True)
        {does}
    print("ended in order", flush=True)

asyncio.run(main())
"""


def started(does):
    source = SOURCE.format(does=does)
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "watching\n"
    return process


def test_a_loop_that_hangs_ends_its_process_and_says_where():
    process = started("time.sleep(60)")

    said, _ = process.communicate(timeout=30)

    assert process.returncode == 70
    assert "event loop hangs" in said
    assert "in main" in said


def test_a_loop_that_turns_is_left_alone():
    process = started("await asyncio.sleep(2.5)")

    said, _ = process.communicate(timeout=30)

    assert (process.returncode, said) == (0, "ended in order\n")


def test_a_process_that_was_frozen_goes_on():
    process = started("await asyncio.sleep(3)")
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.4)
    frozen = time.monotonic()
    while time.monotonic() - frozen < 1.6:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGCONT)

    said, _ = process.communicate(timeout=30)

    assert (process.returncode, said) == (0, "ended in order\n")
