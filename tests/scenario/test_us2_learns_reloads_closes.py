"""The whole story on paper: warm-up, training, an honest verdict, hot reload, model signals, fills, exits."""

import asyncio
import json

import polars as pl
import pytest
from tests.scenario.demo_process import Demo, heard

from sandbox.core.market import synthetic


def result_of(out):
    return json.loads(next(line for line in reversed(out.splitlines()) if line.startswith("{")))


def assert_whole(result):
    [version] = result["versions"]
    assert version["verdict"] == "accepted"
    assert version["test"]["accuracy"] > version["baseline"]
    assert version["sentence"]
    assert result["activated_version"] == version["version"]
    assert result["warmup_signals"] > 0
    assert result["model_signals"] > 0
    assert result["hot_reloads"] > 0
    assert result["orders_filled"] > 0
    assert sum(result["exits"].values()) > 0
    assert set(result["exits"]) <= {"stop_loss", "take_profit"}
    assert result["positions_open"] >= 0
    assert result["skips"]
    assert 0 < result["seconds_to_first_signal"] <= result["seconds_total"]


async def test_the_fleet_learns_reloads_and_closes(database_url, amqp_url):
    demo = Demo(database_url, amqp_url, ONCE="1", SEED="11")

    code, out, err = await demo.run(300)

    assert code == 0, err
    assert_whole(result_of(out))
    for told in ("warm-up signal", "model signal", "no signal: ", "filled", "EXIT", "hot reload"):
        assert told in out
    assert demo.remains() == []


@pytest.mark.parametrize(
    "deaths",
    [
        {"training started": ["inference"], "hot reload": ["exit_strategy"]},
        {"training started": ["trainer", "api"]},
    ],
    ids=["those who trade", "those who teach and tell"],
)
async def test_the_death_of_a_service_does_not_stop_the_story(deaths, database_url, amqp_url):
    demo = Demo(database_url, amqp_url, ONCE="1")
    process = await demo.start()
    async with asyncio.timeout(300):
        for moment, services in deaths.items():
            await heard(process, moment)
            for service in services:
                demo.kill(service)
        out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    assert_whole(result_of(out.decode()))


async def test_a_market_without_an_edge_earns_no_promotion_and_warm_up_goes_on(
    database_url, amqp_url, tmp_path
):
    candles = synthetic(5, "BTCUSDT", 60_000, 0.0)
    columns = {name: getattr(candles, name) for name in ("open", "high", "low", "close", "volume")}
    bars = (
        pl.DataFrame(columns)
        .with_row_index("date")
        .with_columns(
            pl.lit("2024-01-01").str.to_datetime("%Y-%m-%d", time_zone="UTC")
            + pl.duration(minutes=5 * pl.col("date"))
        )
    )
    file = tmp_path / "candles.parquet"
    bars.write_parquet(file)
    demo = Demo(database_url, amqp_url, ONCE="1", CANDLES=str(file))

    code, out, err = await demo.run(300)

    result = result_of(out)
    assert code == 0, err
    [version] = result["versions"]
    assert version["verdict"] in {"refused", "insufficient_evidence"}
    assert version["sentence"]
    assert result["activated_version"] is None
    assert result["hot_reloads"] == result["model_signals"] == 0
    assert result["warmup_signals"] > 0
