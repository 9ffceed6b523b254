"""docs/quickstart.md, step by step as it stands there, on a small fleet."""

import json
import os
import re
from decimal import ROUND_DOWN, Decimal

from tests.page_shell import ROOT, shell, steps
from tests.scenario.small_fleet import small_fleet

from sandbox.ports import free_port

PAGE = ROOT / "docs" / "quickstart.md"
KEY = "the-feature-services-own-key-of-the-tour"
MARGIN, COSTS = Decimal("0.95"), Decimal("1.0015")
CENT = Decimal("0.01")


async def test_the_tour_is_true_on_a_running_fleet(database_url, amqp_url, tmp_path):
    said = {}
    service = {"FEATURE_SERVICE_API_KEY": KEY, "FEATURE_SERVICE_PORT": str(free_port())}
    async with small_fleet(database_url, amqp_url, tmp_path, **service) as fleet:
        await fleet.until("SELECT 1 FROM training_runs")
        async with shell(_environment(fleet, service)) as bash:
            for heading, commands in steps(PAGE):
                said.setdefault(heading[0], []).append(await bash.run(commands))
        [version] = await fleet.rows("SELECT version, verdict, verdict_sentence FROM model_versions")
        builds = await fleet.value("SELECT count(*) FROM training_runs WHERE dataset_only")
    assert said["3"][0].splitlines() == [version["verdict"], version["verdict_sentence"]]
    assert builds == 1
    records, (status, rows) = said["4"][0], said["4"][1].splitlines()
    assert status == "ready"
    assert f"'test': {rows.split()[0]}" in records
    balance = json.loads(said["5"][0].splitlines()[-1])["balance"]
    assert _affordable(balance["available_quote"], balance["reserved_quote"]) == Decimal(
        balance["affordable_quote"]
    )


def test_the_worked_examples_are_what_the_formula_gives():
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", PAGE.read_text(), re.MULTILINE)

    assert len(rows) == 5
    assert [str(_affordable(available, reserved)) for available, reserved, _ in rows] == [
        row[2] for row in rows
    ]


def _affordable(available, reserved):
    return (Decimal(available) * MARGIN / COSTS - Decimal(reserved)).quantize(CENT, ROUND_DOWN)


def _environment(fleet, service):
    return {
        **os.environ,
        "FLOTILLA_URL": fleet.addresses["api"],
        "MODEL_SERVICE_API_KEY": fleet.api_key,
        "FEATURE_SERVICE_URL": f"http://127.0.0.1:{service['FEATURE_SERVICE_PORT']}",
        "FEATURE_SERVICE_API_KEY": KEY,
    }
