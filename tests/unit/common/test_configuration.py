"""`flotilla config check`: every mistake is named before anything starts, and no secret is."""

import json
import os
import subprocess
import sys
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import environment_file
from common.configuration import findings, installed, main
from common.configuration_advice import ADVICE
from common.environment_file import NotAnEnvironmentFile

PRESETS = Path(__file__).parents[3] / "deploy/presets"
KEYS = {name: sha256(name.encode()).hexdigest() for name in ("api", "db", "bus", "fs", "pm", "ws")}


@pytest.fixture
def well(monkeypatch, tmp_path):
    """An environment with which every service starts."""
    for name in list(os.environ):
        if name != "PATH":
            monkeypatch.delenv(name)
    for name in ("models", "datasets", "spool"):
        (tmp_path / name).mkdir()
    environment = {
        "MODEL_SERVICE_API_KEY": KEYS["api"],
        "POSTGRES_PASSWORD": KEYS["db"],
        "RABBITMQ_PASSWORD": KEYS["bus"],
        "FEATURE_SERVICE_API_KEY": KEYS["fs"],
        "POSITION_MANAGER_API_KEY": KEYS["pm"],
        "WS_GATEWAY_API_KEY": KEYS["ws"],
        "MODEL_STORAGE_PATH": str(tmp_path / "models"),
        "FEATURE_SERVICE_DATASET_STORAGE_PATH": str(tmp_path / "datasets"),
        "EXIT_SPOOL_PATH": str(tmp_path / "spool/exits.jsonl"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def check(well, capsys):
    """The exit code, and what was said of each variable."""

    def run(*arguments, **changes):
        for name, value in changes.items():
            well.setenv(name, value)
        # main() lets files fill os.environ; what it adds goes with the test.
        before = dict(os.environ)
        code = main(["--json", *arguments])
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        answer = json.loads(capsys.readouterr().out)
        return code, {each["variable"]: each for each in answer["findings"]}

    return run


def test_every_service_is_looked_at_and_a_good_environment_has_no_finding(check):
    assert set(installed()) == {"api", "exit-strategy", "inference", "migrate", "trainer"}
    assert check() == (0, {})


@pytest.mark.parametrize(
    ("variable", "value", "readers", "says"),
    [
        ("TRAINER_PORT", "abc", ["trainer"], "Port of health and metrics"),
        ("POSTGRES_PASSWORD", "", ["exit-strategy", "inference", "migrate", "trainer"], "is empty"),
        ("RABBITMQ_PASSWORD", "changeme", ["api", "exit-strategy", "inference", "trainer"], "example"),
        ("MODEL_SERVICE_API_KEY", "too-short", ["api"], "32 random bytes"),
        ("MODEL_STORAGE_PATH", "/nowhere/models", ["api", "inference", "trainer"], "is no directory"),
        ("EXIT_SPOOL_PATH", "/nowhere/exits.jsonl", ["exit-strategy"], "/nowhere is no directory"),
        ("POSITION_MANAGER_API_KEY_FILE", "/nowhere/key", ["exit-strategy", "inference"], "cannot be read"),
        ("STRATEGIES_FILE", "/nowhere/s.toml", ["api", "exit-strategy", "inference", "trainer"], "nowhere"),
        ("STOP_LOSS_TRESHOLD_PCT", "-2", [], "STOP_LOSS_THRESHOLD_PCT is perhaps meant"),
        ("POSTGRES_HOST_FILE", "/run/host", [], "only secrets come from files, set POSTGRES_HOST"),
    ],
)
def test_a_mistake_is_an_error_with_its_variable_and_its_readers(check, well, variable, value, readers, says):
    well.delenv(variable.removesuffix("_FILE"), raising=False)

    code, found = check(**{variable: value})

    [finding] = [
        each for name, each in found.items() if says in each["sentence"] and variable.startswith(name)
    ]
    assert code == 1
    assert finding["severity"] == "error"
    assert set(finding["services"]) >= set(readers) - {"api"}


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"DATABASE_URL": f"postgresql://u:{'p4ssw0rd' * 4}@h/d", "POSTGRES_HOST": "db"}, "POSTGRES_HOST"),
        ({"RABBITMQ_URL": f"amqp://u:{'p4ssw0rd' * 4}@h/", "RABBITMQ_HOST": "mq"}, "RABBITMQ_HOST"),
        ({"POSTGRES_PASSWORD_FILE": "/run/secrets/p"}, "POSTGRES_PASSWORD_FILE"),
        ({"FEATURE_SERVICE_API_KEY": "short-but-random"}, "FEATURE_SERVICE_API_KEY"),
    ],
)
def test_what_works_and_is_not_meant_so_is_a_warning(check, changes, variable):
    code, found = check(**changes)

    assert code == 0
    assert {name: each["severity"] for name, each in found.items()} == {variable: "warning"}


def test_only_one_service_can_be_asked_for(check):
    code, found = check("--service", "api", TRAINER_PORT="abc")

    assert (code, found) == (0, {})


def test_beside_real_money_more_is_advised_and_the_sandboxs_secrets_are_refused(check):
    code, found = check("--preset", "platform", FEATURE_SERVICE_API_KEY="sandbox")

    assert code == 1
    assert found["FEATURE_SERVICE_API_KEY"]["severity"] == "error"
    assert {"TRADING_STATE_INITIAL", "MAX_EXPOSURE_QUOTE", "POSTGRES_SSLMODE", "RABBITMQ_TLS"} <= set(found)


def test_one_key_for_two_doors_is_a_warning_beside_real_money(check):
    _, found = check("--preset", "platform", POSITION_MANAGER_API_KEY=KEYS["fs"])

    same = [name for name, each in found.items() if each["sentence"].startswith("is the same as ")]
    assert len(same) == 1
    assert set(same) < {"FEATURE_SERVICE_API_KEY", "POSITION_MANAGER_API_KEY"}


@pytest.mark.parametrize("files", [("paper.env",), ("paper.env", "sandbox.env")])
def test_the_paper_presets_follow_their_own_advice(check, files):
    named = [text for each in files for text in ("--env-file", str(PRESETS / each))]

    assert check("--preset", "paper", *named) == (0, {})


def test_the_platform_preset_leaves_open_only_what_the_operator_alone_knows(check):
    limits = {"MAX_EXPOSURE_QUOTE", "MAX_NOTIONAL_PER_HOUR", "TRADING_SYMBOLS"}
    logins = {"POSTGRES_USER", "RABBITMQ_USER"}
    hosts = {"POSTGRES_HOST", "RABBITMQ_HOST", "FEATURE_SERVICE_HOST", "POSITION_MANAGER_HOST"}

    code, found = check("--preset", "platform", "--env-file", str(PRESETS / "platform.env"))

    assert code == 0
    assert set(found) == limits | logins | hosts


@pytest.mark.parametrize("preset", ["paper", "platform"])
def test_a_preset_says_why_of_each_value(preset):
    lines = (PRESETS / f"{preset}.env").read_text().splitlines()
    known = {name.upper() for each in installed().values() for name in each.model_fields}

    for before, line in pairwise(lines):
        if line and not line.startswith("#"):
            assert line.partition("=")[0] in known
            assert before.startswith(("# ", line.partition("_")[0]))
    assert set(environment_file.read(PRESETS / f"{preset}.env")) <= known


def test_all_advice_is_about_settings_that_exist():
    known = {name for each in installed().values() for name in each.model_fields}

    assert {advice.setting for advices in ADVICE.values() for advice in advices} <= known


def test_the_environment_goes_before_files_and_a_later_file_before_an_earlier_one(check, tmp_path):
    first, second = tmp_path / "first.env", tmp_path / "second.env"
    first.write_text("TRAINER_PORT=abc\nINFERENCE_PORT=abc\nEXIT_STRATEGY_PORT=abc\n")
    second.write_text("TRAINER_PORT=4502\nNOBODY_KNOWS_THIS=1\nAWS_REGION=eu\n")

    code, found = check("--env-file", str(first), "--env-file", str(second), INFERENCE_PORT="4501")

    assert code == 1
    assert set(found) == {"EXIT_STRATEGY_PORT", "NOBODY_KNOWS_THIS"}
    assert found["NOBODY_KNOWS_THIS"]["severity"] == "warning"


@settings(max_examples=25)
@given(value=st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), min_size=9, max_size=40))
def test_no_secret_is_ever_said(value):
    planted = f"planted-{value}"
    secrets = {
        name.upper(): planted
        for each in installed().values()
        for name in each.model_fields
        if name.endswith(("_password", "_api_key", "_url", "_key_previous"))
    }
    kept = dict(os.environ)
    os.environ.update(secrets)
    try:
        found = findings(installed(), os.environ, preset="platform")
    finally:
        os.environ.clear()
        os.environ.update(kept)

    assert found
    assert not [each for each in found if planted in each.sentence or value in each.variable]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("export A=1", "1"),
        ("A= spaced out  # said twice", "spaced out"),
        ('A="a # b" # c', "a # b"),
        ("A='x'", "x"),
        ("A=", ""),
        ("A=# nothing", ""),
        ("A=a#b", "a#b"),
        ("A=b=c", "b=c"),
    ],
)
def test_a_file_is_read_as_compose_reads_it(tmp_path, line, value):
    path = tmp_path / "flotilla.env"
    path.write_text(f"# first\n\n{line}\n")

    assert environment_file.read(path) == {"A": value}


@pytest.mark.parametrize("content", [b"A=1\nnonsense\n", b"A=\xff\n", None])
def test_what_is_no_environment_file_is_said_with_its_name(tmp_path, capsys, content):
    path = tmp_path / "flotilla.env"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(NotAnEnvironmentFile, match=r"flotilla\.env"):
        environment_file.read(path)
    assert main(["--env-file", str(path)]) == 1
    assert "flotilla.env" in capsys.readouterr().err


def test_the_command_line_says_the_same_and_ends_with_the_same_code():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import api.cli, sys; sys.exit(api.cli.main(['config', 'check', '--service', 'api']))",
        ],
        env={"PATH": os.environ["PATH"], "MODEL_SERVICE_API_KEY": "changeme"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "error: MODEL_SERVICE_API_KEY: must be 32 random bytes or more" in done.stdout
    assert "changeme" not in done.stdout + done.stderr
