"""The compose files: valid, hardened, and telling the services nothing that they do not know."""

import json
import re
import stat
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "deploy"
SPECIFICATION = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json")
OURS = ("inference", "trainer", "exit-strategy", "api", "migrate")
BUDGETS_S = {"inference": 20, "trainer": 60, "exit-strategy": 20, "api": 20}


class _Loader(yaml.SafeLoader):
    """Knows the tags with which one compose file replaces what another says."""


def _mapping(loader, node):
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("!override", _mapping)


def _read(name):
    return yaml.load((DEPLOY / name).read_text(), _Loader)


@pytest.fixture(scope="module")
def compose():
    return _read("compose.yaml")


@pytest.mark.parametrize("name", ["compose.yaml", "compose.platform.yaml"])
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
            assert value.removeprefix("/run/secrets/") in service["secrets"]
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
    script = tmp_path / "deploy/new_secrets.py"
    script.write_text((DEPLOY / "new_secrets.py").read_text())
    secrets = tmp_path / "deploy/secrets"

    subprocess.run([sys.executable, script], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in secrets.iterdir()}
    again = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True)

    assert {f"secrets/{name}" for name in made} == {each["file"] for each in compose["secrets"].values()}
    assert {path.name: path.read_text() for path in secrets.iterdir()} == made
    assert "is complete" in again.stdout
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert len(set(made.values())) == len(made)
    assert all(len(value) >= 64 for value in made.values())
    assert made["rabbitmq_password"] in made["rabbitmq_user"]
