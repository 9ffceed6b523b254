"""The short form of `make chaos`: nearly every kind of fault within a minute, and no promise broken."""

import json

from tests.scenario.demo_process import Demo

LIMIT_S = 160
SEED = "11"
# Servers of its own: they are killed.
HOME = "chaos"


async def test_a_fleet_that_is_struck_all_the_time_keeps_its_promises(tmp_path):
    chaos = Demo(
        "",
        "",
        module="sandbox.chaos",
        CHAOS_SEED=SEED,
        CHAOS_MINUTES="0.4",
        CHAOS_PHASE_SECONDS="24",
        CHAOS_PAUSE_SECONDS="0.8",
        CHAOS_LONGEST_FREEZE_SECONDS="5",
        CHAOS_CALM_SECONDS="3",
        CHAOS_HOME=str(tmp_path / HOME),
    )

    code, out, err = await chaos.run(LIMIT_S)

    assert (code, _broken(err)) == (0, []), out[-2000:]
    told = json.loads(out.splitlines()[-1])
    assert len(told["faults"]) >= 18
    assert told["signals"]["entry published"] > 0
    assert told["trainings"]["succeeded"] > 0
    assert told["dead_letters"] == told["poisons"] > 0
    assert len(_records(tmp_path / HOME)) == 1
    assert chaos.remains() == []


def _broken(err):
    return [line for line in err.splitlines() if line.startswith("broken")]


def _records(home):
    return list(home.glob("runs/*/record.json"))
