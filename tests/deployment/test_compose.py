"""The compose files: valid, hardened, and telling the services nothing that they do not know."""

import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml

from common import environment_file
from sandbox import fleet
from sandbox.platform import open_market
from sandbox.settings import MarketSettings, SandboxSettings

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "deploy"
SPECIFICATION = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json")
OURS = ("inference", "trainer", "exit-strategy", "api", "migrate")
FILES = ("compose.yaml", "compose.platform.yaml", "compose.sandbox.yaml")
BUDGETS_S = {"inference": 20, "trainer": 60, "exit-strategy": 20, "api": 20}


class _Loader(yaml.SafeLoader):
    """Knows the tags with which one compose file replaces what another says."""


def _replacing(loader, node):
    make = loader.construct_mapping if isinstance(node, yaml.MappingNode) else loader.construct_sequence
    return make(node, deep=True)


_Loader.add_constructor("!override", _replacing)


def _read(name):
    return yaml.load((DEPLOY / name).read_text(), _Loader)


@pytest.fixture(scope="module")
def compose():
    return _read("compose.yaml")


@pytest.mark.parametrize("name", FILES)
def test_the_specification_allows_it(name):
    jsonschema.validate(_read(name), json.loads(SPECIFICATION.read_text()))


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_may_do_little(compose, name):
    service = compose["services"][name]
    limits = service["deploy"]["resources"]["limits"]

    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} <= set(limits)
    assert (DEPLOY.parent / service["build"]["dockerfile"]).is_file()


def test_only_the_api_can_be_reached_from_outside(compose):
    published = [name for name, service in compose["services"].items() if "ports" in service]
    outside = [name for name, service in compose["services"].items() if "outside" in service["networks"]]

    assert published == outside == ["api"]
    assert compose["networks"]["inside"]["internal"]
    assert compose["services"]["api"]["ports"] == ["${MODEL_SERVICE_ADDRESS:-127.0.0.1}:4500:4500"]


def test_nothing_starts_before_what_it_needs(compose):
    for name in set(OURS) - {"migrate"}:
        assert (
            compose["services"][name]["depends_on"]["migrate"]["condition"]
            == "service_completed_successfully"
        )
        assert compose["services"][name]["depends_on"]["rabbitmq"]["condition"] == "service_healthy"
    assert compose["services"]["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert all("healthcheck" in compose["services"][name] for name in ("postgres", "rabbitmq"))


@pytest.mark.parametrize(("name", "budget_s"), BUDGETS_S.items())
def test_a_service_has_the_time_to_finish_what_it_began(compose, name, budget_s):
    assert int(compose["services"][name]["stop_grace_period"].removesuffix("s")) > budget_s


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_and_every_secret_a_file(compose, name):
    service = compose["services"][name]
    known = (CHECKOUT / ".env.example").read_text()
    for variable, value in service["environment"].items():
        setting = variable.removesuffix("_FILE")
        assert re.search(rf"^#{setting}=", known, re.MULTILINE), variable
        if setting != variable:
            assert value.removeprefix("/run/secrets/") in _places(service)
        assert not re.search(r"PASSWORD|KEY", variable) or variable.endswith("_FILE")
    assert all("_URL" not in variable for variable in service["environment"])


def test_the_volumes_are_those_that_the_images_may_write(compose):
    writable = {
        place: name
        for name in OURS
        for volume in compose["services"][name].get("volumes", ())
        for place in [volume.split(":", 1)[1]]
        if not place.endswith(":ro")
    }

    assert writable == {"/models": "trainer", "/datasets": "trainer", "/spool": "exit-strategy"}
    for place, name in writable.items():
        assert f'"{place}"' in (DEPLOY / f"images/{name}.Dockerfile").read_text()


def test_the_platforms_own_servers_take_the_place_of_ours():
    overlay = _read("compose.platform.yaml")

    assert {"postgres", "rabbitmq"} == {
        name for name, each in overlay["services"].items() if "profiles" in each
    }
    assert overlay["networks"]["inside"]["external"]


def test_the_secrets_that_compose_hands_on_are_made_once(compose, tmp_path):
    (tmp_path / "deploy").mkdir()
    shutil.copytree(DEPLOY / "rabbitmq", tmp_path / "deploy/rabbitmq")
    script = tmp_path / "deploy/new_secrets.py"
    script.write_text((DEPLOY / "new_secrets.py").read_text())
    secrets = tmp_path / "deploy/secrets"

    subprocess.run([sys.executable, script], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in secrets.iterdir()}
    again = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True)

    handed_on = compose["secrets"] | _read("compose.sandbox.yaml")["secrets"]
    assert {f"secrets/{name}" for name in made} == {each["file"] for each in handed_on.values()} | {
        "secrets/rabbitmq_password"
    }
    assert {path.name: path.read_text() for path in secrets.iterdir()} == made
    assert "is complete" in again.stdout
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert len(set(made.values())) == len(made)
    assert all(len(value) >= 64 for value in made.values())
    assert made["rabbitmq_password"] in made["sandbox_rabbitmq_url"]
    assert made["postgres_password"] in made["sandbox_database_url"]
    assert not [name for name in made if made[name] in made["rabbitmq_definitions"] and "defin" not in name]


def test_no_two_services_share_a_login_or_its_password(compose):
    logins = {name: compose["services"][name]["environment"]["POSTGRES_USER"] for name in OURS}
    users = {
        name: compose["services"][name]["environment"]["RABBITMQ_USER"] for name in set(OURS) - {"migrate"}
    }
    passwords = [
        each["source"]
        for name in OURS
        for each in compose["services"][name]["secrets"]
        if isinstance(each, dict) and each["target"].endswith("_password")
    ]

    assert len(set(logins.values())) == len(OURS)
    assert set(users.values()) == set(json.loads((DEPLOY / "rabbitmq/permissions.json").read_text()))
    assert len(passwords) == len(set(passwords)) == 8
    assert compose["services"]["migrate"]["secrets"] == ["postgres_password"]


def test_the_brokers_permissions_are_those_that_the_security_page_gives():
    written = {
        service: dict(zip(("configure", "write", "read"), permissions, strict=True))
        for line in (CHECKOUT / "docs/security.md").read_text().splitlines()
        if line.startswith("rabbitmqctl set_permissions ")
        for _, _, service, *permissions in [shlex.split(line)]
    }

    assert json.loads((DEPLOY / "rabbitmq/permissions.json").read_text()) == written


@pytest.mark.parametrize(
    ("name", "presets"),
    [
        ("compose.platform.yaml", ["presets/platform.env"]),
        ("compose.sandbox.yaml", ["presets/paper.env", "presets/sandbox.env"]),
    ],
)
def test_a_preset_is_read_before_what_the_operator_says(name, presets):
    services = _read(name)["services"]

    for service in set(OURS) - {"migrate"}:
        *first, own = services[service]["env_file"]
        assert first == presets
        assert own == {"path": "flotilla.env", "required": False}
    # Compose would put a file that both name where the first named it, before the presets.
    assert (DEPLOY / name).read_text().count("env_file:") == (DEPLOY / name).read_text().count(
        "env_file: !override"
    )


def test_the_sandbox_may_do_little_and_is_found_under_its_neighbours_names(compose):
    overlay = _read("compose.sandbox.yaml")
    sandbox, around = overlay["services"]["sandbox"], compose["services"]["inference"]["environment"]

    assert sandbox["read_only"]
    assert sandbox["cap_drop"] == ["ALL"]
    assert "ports" not in sandbox
    assert set(sandbox["networks"]["inside"]["aliases"]) == {
        around[f"{name}_HOST"] for name in ("FEATURE_SERVICE", "POSITION_MANAGER", "WS_GATEWAY")
    }
    for variable, value in sandbox["environment"].items():
        assert variable.removesuffix("_FILE").lower() in SandboxSettings.model_fields
        assert value.removeprefix("/run/secrets/") in _places(sandbox)


def test_the_sandboxs_preset_has_the_demos_figures():
    settings = MarketSettings()
    market = open_market(settings)
    demo = {
        **fleet._market(market, settings, market.started_at),
        **fleet._periods(market),
        **fleet._exits(market),
    }
    preset = environment_file.read(DEPLOY / "presets/sandbox.env")
    shared = sorted(demo.keys() & preset.keys())

    assert len(shared) == 10
    for name in shared:
        if name == "TRADING_SYMBOLS":
            assert preset[name] == demo[name]
        else:
            assert float(preset[name]) == pytest.approx(float(demo[name]), rel=1e-3), name


@pytest.mark.parametrize("name", ["paper", "platform", "sandbox"])
def test_a_preset_sets_what_the_services_know(name):
    known = (CHECKOUT / ".env.example").read_text()
    for variable in environment_file.read(DEPLOY / f"presets/{name}.env"):
        assert re.search(rf"^#{variable}=", known, re.MULTILINE), variable


def _places(service):
    return {each["target"] if isinstance(each, dict) else each for each in service["secrets"]}
