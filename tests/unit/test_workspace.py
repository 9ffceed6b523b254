"""The workspace: short names are ours alone, services carry only what is theirs."""

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {
    "common": "flotilla-common",
    "inference": "flotilla-inference",
    "trainer": "flotilla-trainer",
    "exit_strategy": "flotilla-exit-strategy",
    "api": "flotilla-api",
    "migrations": "flotilla-migrations",
    "sandbox": "flotilla-sandbox",
}
NOT_HERE = {
    "colorama": "Windows only: its package is colorama",
    "exceptiongroup": "Python 3.10 only: its package is exceptiongroup",
    "async-timeout": "Python 3.10 only: its package is async_timeout",
    "nvidia-nccl-cu12": "the trainer's gpu extra only: its package is nvidia",
    "nvidia-nccl-cu13": "the trainer's gpu extra only: its package is nvidia",
    "xgboost": "the trainer's gpu extra only: its package is xgboost, as the installed xgboost-cpu's",
    "tzdata": "Windows only: its package is tzdata",
    "pyyaml-ft": "Python 3.13 only: its package is yaml_ft",
    "tomli": "Python 3.10 only: its package is tomli",
}
"""Locked distributions that this platform does not install, and why they own none of our names."""
ML = {"xgboost", "xgboost-cpu", "scikit-learn", "polars", "onnxmltools", "onnxruntime", "skl2onnx", "pyarrow"}


TRAINS = {"onnx", "onnxmltools", "polars", "pyarrow", "scipy", "skl2onnx", "sklearn", "xgboost"}
NOT_AT_START = {
    "inference": TRAINS | {"httptools", "litestar", "uvloop"},
    "exit_strategy": TRAINS | {"httptools", "litestar", "numpy", "onnxruntime", "uvloop"},
    "api": TRAINS | {"httpx", "numpy", "onnxruntime"},
    "trainer": TRAINS - {"polars"} | {"httptools", "litestar", "onnxruntime", "uvloop"},
}
"""What would cost a process memory and time, and it serves without: a fit has a process of its own."""


def locked():
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    return {package["name"]: package for package in packages}


@pytest.mark.parametrize(("name", "distribution"), OURS.items())
def test_a_short_import_name_belongs_to_us_alone(name, distribution):
    claimed_by = importlib.metadata.packages_distributions().get(name, [])
    spec = importlib.util.find_spec(name)

    assert set(claimed_by) <= {distribution}
    assert spec is not None
    assert Path(str(spec.origin)).is_relative_to(ROOT)


def test_every_locked_distribution_was_looked_at():
    distributions = importlib.metadata.distributions()
    installed = {re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower() for each in distributions}

    assert set(locked()) - installed - {"flotilla"} <= set(NOT_HERE)


def needs(distribution):
    packages, found, open_names = locked(), set(), [distribution]
    while open_names:
        name = open_names.pop()
        for dependency in packages[name].get("dependencies", []):
            if dependency["name"] not in found:
                found.add(dependency["name"])
                open_names.append(dependency["name"])
    return found


@pytest.mark.parametrize(
    ("distribution", "allowed"),
    [
        ("flotilla-inference", {"onnxruntime"}),
        ("flotilla-api", set()),
        ("flotilla-exit-strategy", set()),
        ("flotilla-common", set()),
    ],
)
def test_serving_carries_no_training_library(distribution, allowed):
    assert needs(distribution) & ML <= allowed


def loaded_by(statement):
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("service", NOT_AT_START)
def test_a_service_starts_without_what_it_does_not_need(service):
    assert all(importlib.util.find_spec(name) for name in NOT_AT_START[service])

    loaded = loaded_by(f"import uvicorn, {service}.app")

    assert f"{service}.app" in loaded
    assert loaded & NOT_AT_START[service] == set()


@pytest.mark.parametrize("service", ["inference", "trainer", "exit_strategy", "api"])
def test_a_service_refuses_wrong_settings_with_all_of_them_named(service):
    wrong = {"RABBITMQ_URL": "http://x", "DATABASE_URL": "mysql://x", "PATH": "/usr/bin"}

    done = subprocess.run(
        [sys.executable, "-m", service], env=wrong, capture_output=True, text=True, check=False
    )

    assert done.returncode == 78
    assert "RABBITMQ_URL: must start with amqp://" in done.stderr
    assert "DATABASE_URL: must start with postgresql://" in done.stderr
    assert "Traceback" not in done.stderr
