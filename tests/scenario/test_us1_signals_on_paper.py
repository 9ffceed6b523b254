"""A stranger runs the demo: live vectors become signals that are filled or rejected, or one sees why not."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from tests.processes import soon

MARK = "FLOTILLA_TEST_STORY"


class Demo:
    """The demo as a process of its own, on the test's own servers."""

    def __init__(self, database_url, amqp_url, **options):
        self.mark = uuid4().hex
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "RABBITMQ_URL": amqp_url,
            MARK: self.mark,
            **options,
        }

    async def start(self):
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sandbox.demo",
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, limit_s=150):
        process = await self.start()
        out, err = await asyncio.wait_for(process.communicate(), limit_s)
        return process.returncode, out.decode(), err.decode()

    def remains(self):
        wanted = f"{MARK}={self.mark}".encode()
        return [pid for pid in os.listdir("/proc") if pid.isdigit() and wanted in _environment_of(pid)]


def _environment_of(pid):
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


async def test_the_demo_tells_its_story_and_leaves_nothing_behind(database_url, amqp_url):
    demo = Demo(database_url, amqp_url, ONCE="1", SEED="11")

    code, out, err = await demo.run()

    result = json.loads(out.splitlines()[-1])
    assert code == 0, err
    assert result["warmup_signals"] > 0
    assert result["orders_filled"] > 0
    assert result["orders_rejected"] >= 0
    assert result["skips"]
    assert 0 < result["seconds_to_first_signal"] <= result["seconds_total"]
    assert "warm-up signal" in out
    assert "no signal: " in out
    assert "filled" in out
    assert demo.remains() == []


async def test_ctrl_c_ends_everything_that_the_demo_started(database_url, amqp_url):
    demo = Demo(database_url, amqp_url)
    process = await demo.start()
    async with asyncio.timeout(60):
        while b"inference" not in (line := await process.stdout.readline()) or b"ready" not in line:
            assert line, "the demo ended before inference was ready"
    assert len(demo.remains()) >= 6

    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 40)

    assert process.returncode == 130
    assert soon(lambda: demo.remains() == [], 10)


async def test_the_demos_own_death_ends_everything_too(database_url, amqp_url):
    demo = Demo(database_url, amqp_url)
    process = await demo.start()
    async with asyncio.timeout(60):
        while b"inference" not in (line := await process.stdout.readline()) or b"ready" not in line:
            assert line, "the demo ended before inference was ready"

    process.kill()
    await process.communicate()

    assert await asyncio.to_thread(soon, lambda: demo.remains() == [], 40)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"CANDLES": "/nowhere/candles.parquet"}, "/nowhere/candles.parquet"),
        ({"CANDLES": __file__}, __file__),
        ({"CANDLES": "a.csv,b.csv", "SYMBOLS": "BTCUSDT"}, "CANDLES names 2 files for 1 symbols"),
        ({"SYMBOLS": "btc-usdt"}, "SYMBOLS must be"),
        ({"SANDBOX_EDGE": "2"}, "SANDBOX_EDGE"),
        (
            {"DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"},
            "DATABASE_URL is set, but nothing usable answers",
        ),
        ({"RABBITMQ_URL": "amqp://u:secret@127.0.0.1:1/"}, "RABBITMQ_URL is set, but nothing usable answers"),
    ],
)
async def test_what_cannot_work_is_said_before_anything_starts(database_url, amqp_url, options, says):
    demo = Demo(database_url, amqp_url, **options)

    code, out, err = await demo.run()

    assert code == 78
    assert says in err
    assert "Traceback" not in err
    assert "secret" not in out + err
    assert demo.remains() == []
