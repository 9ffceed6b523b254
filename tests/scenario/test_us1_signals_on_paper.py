"""A stranger runs the demo: it starts from nothing, says what is wrong, and leaves nothing behind."""

import asyncio
import signal

import pytest
from tests.processes import soon
from tests.scenario.demo_process import Demo, heard


async def test_ctrl_c_ends_everything_that_the_demo_started(database_url, amqp_url):
    demo = Demo(database_url, amqp_url)
    process = await demo.start()
    async with asyncio.timeout(60):
        await heard(process, "inference", "ready")
    assert len(demo.remains()) >= 6

    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 40)

    assert process.returncode == 130
    assert soon(lambda: demo.remains() == [], 10)


async def test_the_demos_own_death_ends_everything_too(database_url, amqp_url):
    demo = Demo(database_url, amqp_url)
    process = await demo.start()
    async with asyncio.timeout(60):
        await heard(process, "inference", "ready")

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
            "DATABASE_URL is set, but nothing",
        ),
        ({"RABBITMQ_URL": "amqp://u:secret@127.0.0.1:1/"}, "RABBITMQ_URL is set, but nothing"),
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
